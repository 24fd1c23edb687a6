//! In: messages of a gRPC stream. Out: those whose elements are counted and within bounds, decoded.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use super::{ShapeError, Shaped};

/// The codec of services whose callers are not trusted.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        BoundedCodec(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Shaped + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// Buffers of an open stream begin with 1 KiB, not 8, and grow when a message is larger: the operator holds 5,000 streams
/// on which little is said. What is ready leaves at 32 KiB.
fn buffers() -> BufferSettings {
    BufferSettings::new(1 << 10, 32 << 10)
}

/// Decodes what has passed the count.
#[derive(Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Shaped + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use prost::bytes::Buf;
        // One copy would be needed if the buffer were not in one piece; tonic's is.
        let message = buf.copy_to_bytes(buf.remaining());
        U::SHAPE.check(&message).map_err(|error| match error {
            ShapeError::Malformed { .. } => Status::invalid_argument(error.to_string()),
            ShapeError::TooMany { .. } | ShapeError::TooManyInAll { .. } => {
                Status::resource_exhausted(error.to_string())
            }
        })?;
        U::decode(message)
            .map(Some)
            .map_err(|error| Status::invalid_argument(format!("decoding a message: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

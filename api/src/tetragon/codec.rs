//! In: events that are encoded already. Out: the stream of `GetEvents`, without encoding them once more for each
//! client.

use prost::bytes::{BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use super::GetEventsRequest;

/// A [`GetEventsResponse`](super::GetEventsResponse) in its wire form; clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent(pub Bytes);

/// The server's side of `GetEvents`: requests are decoded, events are copied.
///
/// No unit struct: the generated code makes one by `default`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventCodec {}

impl Codec for EventCodec {
    type Encode = EncodedEvent;
    type Decode = GetEventsRequest;
    type Encoder = EventCodec;
    type Decoder = ProstDecoder<GetEventsRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for EventCodec {
    type Item = EncodedEvent;
    type Error = Status;

    fn encode(&mut self, item: EncodedEvent, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item.0);
        Ok(())
    }
}

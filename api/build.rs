//! In: the features. Out: with `grpc`, the services' clients and servers.

#[cfg(feature = "grpc")]
mod services;

fn main() -> std::io::Result<()> {
    #[cfg(feature = "grpc")]
    services::generate()?;
    Ok(())
}

//! In: the methods of the services. Out: their clients and servers, for the messages in `src/`.

use std::path::PathBuf;
use std::{env, fs};

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

pub fn generate() -> std::io::Result<()> {
    fleet();
    events()
}

fn method(name: &str, route: &str, input: &str, output: &str) -> MethodBuilder {
    Method::builder()
        .name(name)
        .route_name(route)
        .input_type(input)
        .output_type(output)
        .codec_path("tonic_prost::ProstCodec")
}

/// The event API. The server sends events that are encoded already, so the two sides are generated with different
/// types for them, each into a file of its own.
fn events() -> std::io::Result<()> {
    let service = |event: &str, codec: &str| {
        let health = ("crate::tetragon::GetHealthStatusRequest", "crate::tetragon::GetHealthStatusResponse");
        let version = ("crate::tetragon::GetVersionRequest", "crate::tetragon::GetVersionResponse");
        Service::builder()
            .name("FineGuidanceSensors")
            .package("tetragon")
            .comment("What an agent serves to those who watch its node's events.")
            .method(
                method("get_events", "GetEvents", "crate::tetragon::GetEventsRequest", event)
                    .codec_path(codec)
                    .server_streaming()
                    .build(),
            )
            .method(method("get_health", "GetHealth", health.0, health.1).build())
            .method(method("get_version", "GetVersion", version.0, version.1).build())
            .build()
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let client = service("crate::tetragon::GetEventsResponse", "tonic_prost::ProstCodec");
    Builder::new().build_server(false).compile(&[client]);
    fs::rename(out.join("tetragon.FineGuidanceSensors.rs"), out.join("tetragon.client.rs"))?;
    let server = service("crate::tetragon::EncodedEvent", "crate::tetragon::EventCodec");
    Builder::new().build_client(false).compile(&[server]);
    fs::rename(out.join("tetragon.FineGuidanceSensors.rs"), out.join("tetragon.server.rs"))
}

fn fleet() {
    // Nodes may be hostile: elements are counted before a message is decoded.
    let method = |name, route, input, output| {
        method(name, route, input, output).codec_path("crate::shape::BoundedCodec")
    };
    let fleet = Service::builder()
        .name("Fleet")
        .package("ferragon.fleet.v1")
        .comment("What the operator serves to the agents of all nodes.")
        .method(
            method("follow", "Follow", "crate::fleet::AgentMessage", "crate::fleet::OperatorMessage")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .method(
            method("fetch", "Fetch", "crate::fleet::FetchRequest", "crate::fleet::FetchReply")
                .server_streaming()
                .build(),
        )
        .build();
    Builder::new().compile(&[fleet]);
}

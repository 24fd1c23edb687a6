//! In: the methods of the services. Out: their clients and servers, for the messages in `src/`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, route: &str, input: &str, output: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type(output)
            .codec_path("tonic_prost::ProstCodec")
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

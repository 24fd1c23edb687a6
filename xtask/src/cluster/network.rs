//! Input: a name and how many nodes.
//! Output: a network namespace with a bridge, and a tap on it for each node: nothing outside of it changes.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::node::Node;
use crate::vm::run_quietly;

/// The host's address on the bridge: the control plane, and the router of all pods.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 1);

/// A network namespace.
pub struct Network {
    name: String,
}

impl Network {
    pub fn named(name: String) -> Self {
        Network { name }
    }

    pub fn exists(&self) -> bool {
        Path::new("/run/netns").join(&self.name).exists()
    }

    /// Makes the namespace with bridge, taps and routes to the nodes' pods.
    pub fn create(&self, nodes: &[Node]) -> Result<()> {
        let inside = |line: &str| {
            let words = line.split(' ');
            run_quietly(Command::new("ip").args(["-n", &self.name]).args(words))
        };
        run_quietly(Command::new("ip").args(["netns", "add", &self.name]))
            .context("making the cluster's network namespace")?;
        inside("link set lo up")?;
        inside("link add nodes type bridge")?;
        inside(&format!("address add {HOST}/24 dev nodes"))?;
        inside("link set nodes up")?;
        for node in nodes {
            let tap = node.tap();
            inside(&format!("tuntap add {tap} mode tap"))?;
            inside(&format!("link set {tap} master nodes up"))?;
            inside(&format!("route add {} via {}", node.pods(), node.address()))?;
        }
        // Nodes send everything here; without redirects they keep doing so.
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects; \
                       echo 0 >/proc/sys/net/ipv4/conf/nodes/send_redirects";
        run_quietly(self.command("sh").args(["-ec", forward])).context("making the host a router for pods")
    }

    /// Removes the namespace and all that is in it but processes.
    pub fn remove(&self) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        run_quietly(Command::new("ip").args(["netns", "delete", &self.name]))
    }

    /// A program that will run inside; nsenter becomes it, so that its process id is the child's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }
}

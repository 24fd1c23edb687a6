//! Input: who talks to the API server.
//! Output: the API server's list of tokens, and kubeconfig files.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

/// Nodes that can join: their tokens are made with the control plane.
pub const MAX_NODES: u8 = 9;

/// Who talks to the API server. What each of them may do is in the roles that every API server makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kube-proxy of every node.
    Proxy,
    /// CoreDNS; [`crate::parts::DNS_ROLE`] lets it read services.
    Dns,
    /// The kubelet of `node-N`; N from 1.
    Node(u8),
}

impl User {
    fn all() -> impl Iterator<Item = User> {
        [User::Admin, User::ControllerManager, User::Scheduler, User::Proxy, User::Dns]
            .into_iter()
            .chain((1..=MAX_NODES).map(User::Node))
    }

    /// As Kubernetes names it.
    pub fn name(self) -> String {
        match self {
            User::Admin => "admin".to_owned(),
            User::ControllerManager => "system:kube-controller-manager".to_owned(),
            User::Scheduler => "system:kube-scheduler".to_owned(),
            User::Proxy => "system:kube-proxy".to_owned(),
            User::Dns => "dns".to_owned(),
            User::Node(number) => format!("system:node:node-{number}"),
        }
    }

    fn group(self) -> &'static str {
        match self {
            User::Admin => "system:masters",
            User::Node(_) => "system:nodes",
            User::ControllerManager | User::Scheduler | User::Proxy | User::Dns => "",
        }
    }
}

/// The token of every user.
#[derive(Clone)]
pub struct Tokens(Vec<(User, String)>);

impl Tokens {
    /// New random ones.
    pub fn new() -> Result<Self> {
        let tell = "reading random bytes from /dev/urandom";
        let mut random = fs::File::open("/dev/urandom").context(tell)?;
        let tokens = User::all().map(|user| {
            let mut bytes = [0_u8; 16];
            random.read_exact(&mut bytes).context(tell)?;
            Ok((user, bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
        });
        Ok(Tokens(tokens.collect::<Result<_>>()?))
    }

    /// The token of one user; none for a node of too high a number.
    pub fn of(&self, user: User) -> Result<&str> {
        let found = self.0.iter().find(|(other, _)| *other == user);
        let (_, token) = found.with_context(|| format!("{} has no token", user.name()))?;
        Ok(token)
    }

    /// The list that the API server reads: token, name, id, group.
    pub fn write(&self, path: &Path) -> Result<()> {
        let line = |(user, token): &(User, String)| {
            let name = user.name();
            format!("{token},{name},{name},\"{}\"\n", user.group())
        };
        write_secret(path, &self.0.iter().map(line).collect::<String>())
    }
}

/// The text of a kubeconfig file; JSON is YAML too.
pub fn kubeconfig(url: &str, ca: &Path, token: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": ca}}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    });
    format!("{config:#}\n")
}

/// Writes a file that only its owner reads.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Tokens, User};

    #[test]
    fn every_user_has_a_token_of_its_own() {
        let tokens = Tokens::new().unwrap();
        assert_ne!(tokens.of(User::Admin).unwrap(), tokens.of(User::Node(1)).unwrap());
        assert!(tokens.of(User::Node(10)).is_err());
    }

    #[test]
    fn a_node_is_in_the_group_of_nodes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        Tokens::new().unwrap().write(file.path()).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        let line = text.lines().find(|line| line.contains("node-2")).unwrap();
        assert!(line.ends_with(",system:node:node-2,system:node:node-2,\"system:nodes\""), "{line}");
    }
}

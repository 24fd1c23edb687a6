//! In: a real etcd and API server. Out: the same with the definitions, the namespace, the ServiceAccounts and the roles
//! that the chart installs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::ControlPlane;
use serde_json::Value;

/// Namespace of the operator.
pub const NAMESPACE: &str = "ferragon";

/// An API server on which the chart was installed, without its Deployment.
pub struct Plane {
    control: ControlPlane,
    folder: tempfile::TempDir,
}

fn repository(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Plane {
    pub fn start() -> Plane {
        let _ = tracing_subscriber::fmt().with_test_writer().with_ansi(false).try_init();
        let plane = Plane { control: ControlPlane::start().unwrap(), folder: tempfile::tempdir().unwrap() };
        for kind in ["cilium.io_tracingpolicies", "cilium.io_tracingpoliciesnamespaced"] {
            plane.apply(&repository(&format!("crds/generated/{kind}.yaml"))).unwrap();
        }
        plane.kubectl(&["create", "namespace", NAMESPACE]).unwrap();
        for account in ["ferragon-operator", "ferragon-agent"] {
            plane.kubectl(&["create", "serviceaccount", account, "-n", NAMESPACE]).unwrap();
        }
        let roles = repository("charts/ferragon/files/operator-rbac.yaml");
        plane.apply(&roles.replace("{{ .Release.Namespace }}", NAMESPACE)).unwrap();
        plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).unwrap();
        plane
    }

    /// As someone who may do everything; what it prints, or its complaint.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.control.kubectl(arguments).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout) + &text(&output.stderr))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// `kubectl apply`; what it prints, or its complaint.
    pub fn apply(&self, yaml: &str) -> Result<String, String> {
        self.control.apply(yaml).map_err(|error| format!("{error:#}"))
    }

    /// `kubectl apply` with further flags.
    pub fn apply_with(&self, yaml: &str, flags: &[&str]) -> Result<String, String> {
        let file = self.folder.path().join("applied.yaml");
        std::fs::write(&file, yaml).unwrap();
        let file = file.display().to_string();
        self.kubectl(&[&["apply", "-f", &file], flags].concat())
    }

    /// An object as JSON; `null` if there is none.
    pub fn get(&self, what: &[&str]) -> Value {
        let output = self.kubectl(&[&["get", "-o", "json", "--ignore-not-found"], what].concat()).unwrap();
        if output.trim().is_empty() { Value::Null } else { serde_json::from_str(&output).unwrap() }
    }

    /// Waits until an object is as it should be.
    pub async fn wait(&self, what: &[&str], seconds: u64, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let object = self.get(what);
            if is(&object) {
                return object;
            }
            assert!(Instant::now() < deadline, "{what:?} after {seconds} s: {object:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A kubeconfig of the operator's ServiceAccount.
    pub fn operator_kubeconfig(&self) -> PathBuf {
        let token = self.kubectl(&["create", "token", "ferragon-operator", "-n", NAMESPACE]).unwrap();
        let config = e2e::kubeconfig(&self.control.url(), &self.control.ca(), token.trim());
        let path = self.folder.path().join("operator.kubeconfig");
        std::fs::write(&path, config).unwrap();
        path
    }

    /// A client with the operator's roles.
    pub async fn client(&self) -> kube::Client {
        let file = kube::config::Kubeconfig::read_from(self.operator_kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }
}

/// A policy that hooks a function and has these further lines in its hook.
pub fn policy(name: &str, function: &str, more: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  kprobes:\n  \
         - call: {function}\n    syscall: false\n{more}"
    )
}

/// One condition of an object, as `status/reason`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|it| it["type"] == kind)).unwrap_or(&Value::Null);
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}

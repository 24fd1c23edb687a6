//! Input: `e2e::ControlPlane`, the generated CRDs, the example policies.
//! Output: whether a real API server takes them as users send them, and refuses whom it does not know.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::ControlPlane;

/// YAML files of a folder of the repository.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no YAML in {}", folder.display());
    paths
}

fn ask(plane: &ControlPlane, arguments: &[&str]) -> Result<String, String> {
    let output = plane.kubectl(arguments).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn policies_are_applied_as_users_do() {
    let plane = ControlPlane::start().unwrap();
    assert_eq!(ask(&plane, &["get", "--raw", "/readyz"]).unwrap(), "ok");
    // Plain apply copies the whole object into an annotation, which has a limit.
    for file in files("crds/generated") {
        plane.apply(&fs::read_to_string(file).unwrap()).unwrap();
    }
    ask(&plane, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).unwrap();
    // A definition is established some time before the API server tells of what it defines.
    let deadline = Instant::now() + Duration::from_secs(60);
    let explained = loop {
        match ask(&plane, &["explain", "tracingpolicy.spec.kprobes"]) {
            Ok(explained) => break explained,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(explained.contains("FIELD: kprobes"), "{explained}");

    for file in files("examples/policies") {
        plane
            .apply(&fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{file:?}: {error:#}"));
    }
    let listed =
        ask(&plane, &["get", "tracingpolicies,tracingpoliciesnamespaced", "-A", "-o", "name"]).unwrap();
    assert_eq!(listed.lines().count(), files("examples/policies").len(), "{listed}");
    let names = ask(&plane, &["api-resources", "--api-group=cilium.io", "--no-headers"]).unwrap();
    for line in names.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        for short in words[1].split(',').filter(|_| words.len() == 5) {
            ask(&plane, &["get", short, "-A"]).unwrap_or_else(|error| panic!("{short}: {error}"));
        }
    }
    let refused =
        plane.apply("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: x}\nspec: []\n");
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn an_account_without_a_role_may_nothing() {
    let plane = ControlPlane::start().unwrap();
    let token = ask(&plane, &["create", "token", "default"]).unwrap();
    let mut kubectl = Command::new(e2e::binaries().unwrap().path(e2e::Program::Kubectl));
    kubectl
        .args(["--server", &plane.url(), "--token", token.trim(), "--certificate-authority"])
        .arg(plane.ca());
    kubectl.args(["--kubeconfig", "/dev/null"]);
    let output = kubectl.args(["get", "nodes"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("system:serviceaccount:default:default") && said.contains("forbidden"), "{said}");
}

#[test]
fn controllers_make_what_a_new_namespace_needs() {
    let plane = ControlPlane::start().unwrap().with_controller_manager().unwrap();
    ask(&plane, &["create", "namespace", "n"]).unwrap();
    ask(&plane, &["wait", "--for=create", "serviceaccount/default", "-n", "n", "--timeout=30s"]).unwrap();
    ask(&plane, &["create", "deployment", "d", "--image=x", "-n", "n", "--replicas=2"]).unwrap();
    let count = ["wait", "--for=jsonpath={.status.replicas}=2", "deployment/d", "-n", "n", "--timeout=30s"];
    ask(&plane, &count).unwrap();
}

#[test]
fn nothing_is_left_behind() {
    let plane = ControlPlane::start().unwrap();
    let folder = plane.kubeconfig().parent().unwrap().to_owned();
    let mark = folder.display().to_string();
    let running = || {
        let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let text = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&text).replace('\0', " "))
        });
        lines.filter(|line| line.contains(&mark)).collect::<Vec<_>>()
    };
    assert_eq!(running().len(), 2, "{:?}", running());
    drop(plane);
    assert_eq!(running(), Vec::<String>::new());
    assert!(!folder.exists());
}

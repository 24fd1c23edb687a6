//! In: values. Out: what helm makes of the chart with them, or why it does not.

use std::process::Command;

use e2e::{Program, binaries};

/// What helm renders, or its complaint.
fn render(values: &str) -> Result<String, String> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ferragon");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values).unwrap();
    let output = Command::new(binaries().unwrap().path(Program::Helm))
        .args(["template", "x", chart, "--namespace", "ferragon", "--values"])
        .arg(&file)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn chart_options_of_the_agent_are_plain_and_none_that_the_chart_owns() {
    let rendered = render("agent: {config: {pods: true, later-limit: 8388608, share: 0.5}}").unwrap();
    for line in ["  pods: \"true\"\n", "  later-limit: \"8388608\"\n", "  share: \"0.5\"\n"] {
        assert!(rendered.contains(line), "{line} is not in {rendered}");
    }
    for owned in ["health-address", "state-dir", "server-address", "operator", "log-level", "node-name"] {
        let refused = render(&format!("agent: {{config: {{{owned}: x}}}}")).unwrap_err();
        assert!(refused.contains(&format!("invalid propertyName '{owned}'")), "{refused}");
    }
}

#[test]
fn chart_hands_on_the_room_for_kernel_profiles() {
    for (values, flag) in [("{}", "112"), ("operator: {kernelProfilesMiB: 2048}", "2048")] {
        let rendered = render(values).unwrap();
        assert!(rendered.contains(&format!("- --kernel-profiles-mib={flag}\n")), "{rendered}");
    }
    assert!(render("operator: {kernelProfilesMiB: 1}").unwrap_err().contains("kernelProfilesMiB"));
}

#[test]
fn chart_with_cert_manager_needs_an_issuer() {
    let provider = "certificates: {provider: certManager, certManager: {issuerRef: ";
    for reference in ["{}", "{kind: Issuer}"] {
        let refused = render(&format!("{provider}{reference}}}}}")).unwrap_err();
        assert!(refused.contains("issuerRef.name says who issues"), "{refused}");
    }
    assert!(render(&format!("{provider}{{name: i}}}}}}")).unwrap().contains("issuerRef:\n    name: i\n"));
}

#[test]
fn chart_agents_and_the_operator_agree_on_the_nodes_of_agents() {
    let rendered =
        render("agent: {nodeSelector: {pool: \"7\"}}\noperator: {nodeSelector: {zone: a}}").unwrap();
    assert!(rendered.contains("- --agent-node-selector=kubernetes.io/os=linux\n"), "{rendered}");
    assert!(rendered.contains("- --agent-node-selector=pool=7\n"), "{rendered}");
    assert!(
        rendered.contains("nodeSelector:\n        kubernetes.io/os: linux\n        pool: \"7\"\n"),
        "{rendered}"
    );
    // The operator's, and the Job's that drains.
    assert_eq!(
        rendered.matches("nodeSelector:\n        kubernetes.io/os: linux\n        zone: a\n").count(),
        2
    );
}

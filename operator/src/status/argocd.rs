//! In: an object as Argo CD sees it. Out: the health that `docs/gitops/health.lua` gives it there.
//!
//! Argo CD's interpreter speaks Lua 5.1 and opens few of its libraries; here it is the original with fewer still.

use std::collections::BTreeMap;

use crds::status::{ConditionStatus, ConditionType, TracingPolicyStatus};
use mlua::{IntoLua, Lua, LuaOptions, StdLib, Table};
use serde_json::{Value, json};

use super::kstatus::{KStatus, compute};

const SCRIPT: &str = include_str!("../../../docs/gitops/health.lua");
const SETTINGS: &str = include_str!("../../../docs/gitops/argocd-cm.yaml");

/// What Argo CD shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) status: String,
    pub(super) message: String,
}

/// Of a policy with this `metadata.generation` and this status.
pub(super) fn health(generation: i64, status: Option<&TracingPolicyStatus>) -> Health {
    let mut object = json!({
        "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
        "metadata": {"name": "p", "generation": generation}, "spec": {"kprobes": []},
    });
    if let Some(status) = status {
        object["status"] = serde_json::to_value(status).unwrap();
    }
    judge(object)
}

fn judge(object: Value) -> Health {
    let lua = Lua::new_with(StdLib::TABLE, LuaOptions::default()).unwrap();
    lua.globals().set("obj", lua_value(&lua, object)).unwrap();
    let health: Table = lua.load(SCRIPT).eval().unwrap();
    assert_eq!(health.pairs::<String, String>().filter_map(Result::ok).count(), 2);
    Health { status: health.get("status").unwrap(), message: health.get("message").unwrap() }
}

fn lua_value(lua: &Lua, value: Value) -> mlua::Value {
    match value {
        // As for Argo CD, a field that is null is a field that is not there.
        Value::Null => mlua::Value::Nil,
        Value::Bool(value) => mlua::Value::Boolean(value),
        Value::Number(value) => mlua::Value::Number(value.as_f64().unwrap()),
        Value::String(value) => value.into_lua(lua).unwrap(),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| lua_value(lua, item));
            mlua::Value::Table(lua.create_sequence_from(items).unwrap())
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, field)| (name, lua_value(lua, field)));
            mlua::Value::Table(lua.create_table_from(fields).unwrap())
        }
    }
}

/// The word for what kstatus computes.
pub(super) fn word(status: KStatus) -> &'static str {
    match status {
        KStatus::InProgress => "Progressing",
        KStatus::Failed => "Degraded",
        KStatus::Current => "Healthy",
    }
}

/// A status with these conditions, in the order of their kinds.
fn status(conditions: &BTreeMap<ConditionType, ConditionStatus>) -> TracingPolicyStatus {
    let conditions = conditions.iter().map(|(kind, status)| {
        json!({"type": kind.as_str(), "status": status.as_str(), "reason": "Pending", "message": kind.as_str(),
            "observedGeneration": 3, "lastTransitionTime": "2026-01-02T03:04:05Z"})
    });
    serde_json::from_value(json!({"observedGeneration": 3, "conditions": conditions.collect::<Vec<_>>()}))
        .unwrap()
}

#[test]
fn a_policy_that_nobody_has_looked_at_is_progressing() {
    let nobody =
        Health { status: "Progressing".into(), message: "the operator has not judged the policy yet".into() };
    assert_eq!(health(1, None), nobody);
    assert_eq!(health(1, Some(&TracingPolicyStatus::default())), nobody);
    assert_eq!(judge(json!({"metadata": {"generation": 1}, "status": null})), nobody);
    assert_eq!(
        judge(json!({"metadata": {"generation": 1}, "status": {"conditions": []}})).status,
        "Progressing"
    );
}

#[test]
fn argo_cd_and_kstatus_agree_on_every_combination() {
    let states =
        [None, Some(ConditionStatus::True), Some(ConditionStatus::False), Some(ConditionStatus::Unknown)];
    for ready in &states[1..] {
        for reconciling in &states {
            for stalled in &states {
                let kinds = [
                    (ConditionType::Accepted, &states[1]),
                    (ConditionType::Ready, ready),
                    (ConditionType::Reconciling, reconciling),
                    (ConditionType::Stalled, stalled),
                ];
                let conditions =
                    kinds.into_iter().filter_map(|(kind, state)| Some((kind, (*state)?))).collect();
                let status = status(&conditions);
                for generation in [3, 4] {
                    let health = health(generation, Some(&status));
                    assert_eq!(
                        health.status,
                        word(compute(generation, &status)),
                        "{generation} {conditions:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_reason_is_that_of_the_condition_that_decides() {
    use ConditionStatus::{False, True};
    use ConditionType::{Accepted, Ready, Reconciling, Stalled};
    let decides = |conditions: &[(ConditionType, ConditionStatus)]| {
        let health = health(3, Some(&status(&conditions.iter().copied().collect())));
        (health.status, health.message)
    };
    let is = |status: &str, message: &str| (status.to_owned(), message.to_owned());
    let settled = [(Reconciling, False), (Stalled, False)];
    assert_eq!(decides(&[&[(Ready, True)], &settled[..]].concat()), is("Healthy", "Ready"));
    assert_eq!(decides(&[&[(Ready, False)], &settled[..]].concat()), is("Progressing", "Ready"));
    assert_eq!(decides(&[(Ready, False), (Reconciling, True)]), is("Progressing", "Reconciling"));
    assert_eq!(decides(&[(Ready, False), (Reconciling, False), (Stalled, True)]), is("Degraded", "Stalled"));
    // Of a status that is not ours, nothing good is assumed, unlike in kstatus.
    assert_eq!(decides(&[(Accepted, True)]).0, "Progressing");
}

#[test]
fn the_settings_hold_the_script_for_both_kinds() {
    let settings: Value = serde_yaml::from_str(SETTINGS).unwrap();
    for kind in crds::manifest::PolicyKind::ALL {
        let key = |sort: &str| {
            format!("resource.customizations.{sort}.{}_{}", crds::manifest::GROUP, kind.as_str())
        };
        assert_eq!(
            settings["data"][key("health")].as_str(),
            Some(SCRIPT),
            "copy health.lua to argocd-cm.yaml"
        );
        let ignored: Value =
            serde_yaml::from_str(settings["data"][key("ignoreResourceUpdates")].as_str().unwrap()).unwrap();
        let counted = TracingPolicyStatus { matches: Some(1), enforced: Some(1), ..Default::default() };
        let object = json!({"status": counted});
        for pointer in ignored["jsonPointers"].as_array().unwrap() {
            assert!(object.pointer(pointer.as_str().unwrap()).is_some(), "{pointer} is not in a status");
        }
    }
}

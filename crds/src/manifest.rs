//! In: the two kinds. Out: their CustomResourceDefinitions, as YAML for `crds/generated/` and as JSON for the
//! compiler's front end.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::columns::with_columns;
use crate::open::unknown_fields_kept;
use crate::policy::{TracingPolicy, TracingPolicyNamespaced};
use crate::slim::{defaults_told, slim, words_on_one_line};

/// API group of both kinds.
pub const GROUP: &str = "cilium.io";
/// API version of both kinds.
pub const VERSION: &str = "v1alpha1";

closed_set! {
    /// The kinds that this crate defines.
    PolicyKind {
        /// For the host and all namespaces.
        Cluster = "TracingPolicy",
        /// For one namespace.
        Namespaced = "TracingPolicyNamespaced",
    }
}

impl PolicyKind {
    /// The kind's definition for the API server: without defaults, which the compiler's front end fills in, and keeping
    /// fields that it refuses.
    pub fn definition(self) -> CustomResourceDefinition {
        unknown_fields_kept(defaults_told(self.whole_definition()))
    }

    fn whole_definition(self) -> CustomResourceDefinition {
        slim(with_columns(match self {
            PolicyKind::Cluster => TracingPolicy::crd(),
            PolicyKind::Namespaced => TracingPolicyNamespaced::crd(),
        }))
    }

    /// The kind's schema with the defaults of the language, as a JSON value; `Null` never occurs for a definition that this crate generates.
    pub fn schema(self) -> serde_json::Value {
        let definition = serde_json::to_value(self.whole_definition()).unwrap_or_default();
        definition.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default()
    }

    /// The schema of `spec` without descriptions, from `crds/schemas/`: making it from the types takes some 500
    /// million instructions. `Null` never occurs; `cargo xtask crds --check` and a test compare it with the types.
    pub fn spec_schema(self) -> serde_json::Value {
        let stored = match self {
            PolicyKind::Cluster => include_str!("../schemas/cilium.io_tracingpolicies.json"),
            PolicyKind::Namespaced => {
                include_str!("../schemas/cilium.io_tracingpoliciesnamespaced.json")
            }
        };
        serde_json::from_str(stored).unwrap_or_default()
    }

    /// What [`PolicyKind::spec_schema`] reads, made from the types.
    pub fn spec_schema_json(self) -> String {
        let mut schema = self.schema().pointer("/properties/spec").cloned().unwrap_or_default();
        undescribed(&mut schema);
        schema.to_string() + "\n"
    }

    /// File name of the definition in `crds/generated/`.
    pub fn file_name(self) -> String {
        let definition = self.definition();
        format!("{}_{}.yaml", GROUP, definition.spec.names.plural)
    }

    /// The definition as YAML.
    ///
    /// # Errors
    ///
    /// None occurs for the types of this crate; serialisation is fallible by its interface.
    pub fn yaml(self) -> Result<String, serde_yaml::Error> {
        serde_yaml::to_string(&self.definition()).map(|yaml| words_on_one_line(&yaml))
    }
}

/// Removes what only people read.
fn undescribed(schema: &mut serde_json::Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("description");
    for (keyword, inner) in fields {
        match keyword.as_str() {
            // Its keys are names of fields, of which one may be "description".
            "properties" => inner.as_object_mut().into_iter().flatten().for_each(|(_, it)| undescribed(it)),
            "items" | "additionalProperties" => undescribed(inner),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A larger object does not fit the annotation that `kubectl apply` keeps on it.
    const KUBECTL_APPLY_LIMIT: usize = 262_144;

    #[test]
    fn definitions_are_structural_and_fit_kubectl_apply() {
        for kind in PolicyKind::ALL {
            let yaml = kind.yaml().unwrap();
            assert!(yaml.len() < KUBECTL_APPLY_LIMIT, "{kind}: {} bytes", yaml.len());
            let parsed: CustomResourceDefinition = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(parsed, kind.definition());
            assert!(!yaml.contains("$ref"), "{kind} has references");
            assert!(!yaml.contains("anyOf"), "{kind} has alternatives");
            assert_eq!(kind.schema()["properties"]["spec"]["type"], "object", "{kind}");
        }
    }

    #[test]
    fn the_stored_schema_is_that_of_the_types() {
        for kind in PolicyKind::ALL {
            let made: serde_json::Value = serde_json::from_str(&kind.spec_schema_json()).unwrap();
            assert!(made["properties"]["kprobes"]["items"]["properties"].is_object(), "{kind}");
            assert!(kind.spec_schema() == made, "{kind}: run `cargo xtask crds`");
        }
    }

    #[test]
    fn unknown_fields_reach_the_compilers_front_end() {
        for kind in PolicyKind::ALL {
            let definition = serde_json::to_value(kind.definition()).unwrap();
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            let kept = |object: &serde_json::Value| object["x-kubernetes-preserve-unknown-fields"] == true;
            let hook = &schema["spec"]["properties"]["kprobes"]["items"];
            let selector = &hook["properties"]["selectors"]["items"];
            let filter = &selector["properties"]["matchBinaries"]["items"];
            assert!([&schema["spec"], hook, selector, filter].into_iter().all(kept), "{kind}");
            assert!(!kept(&schema["status"]), "{kind}");
            assert!(
                !kind.spec_schema_json().contains("preserve-unknown"),
                "{kind}: the front end refuses them"
            );
        }
    }

    #[test]
    fn namespaced_kind_has_the_same_fields() {
        let fields = |kind: PolicyKind| kind.schema()["properties"]["spec"]["properties"].clone();
        assert_eq!(fields(PolicyKind::Cluster), fields(PolicyKind::Namespaced));
        assert!(PolicyKind::Namespaced.yaml().unwrap().contains("!has(self.hostSelector)"));
        assert!(!PolicyKind::Cluster.yaml().unwrap().contains("!has(self.hostSelector)"));
    }

    #[test]
    fn defaults_are_those_of_the_language() {
        let schema = PolicyKind::Cluster.schema();
        let kprobe = &schema["properties"]["spec"]["properties"]["kprobes"]["items"]["properties"];
        assert_eq!(kprobe["syscall"]["default"], true);
        assert_eq!(kprobe["return"]["default"], false);
        assert_eq!(kprobe["args"]["items"]["properties"]["type"]["default"], "auto");
        assert_eq!(kprobe["tags"]["maxItems"], 16);
        assert!(kprobe["args"].get("default").is_none());
    }

    #[test]
    fn the_api_server_adds_nothing_to_a_policy() {
        for kind in PolicyKind::ALL {
            let yaml = kind.yaml().unwrap();
            assert!(!yaml.lines().any(|line| line.trim_start().starts_with("default:")), "{kind}");
            assert!(yaml.contains("Default: true."), "{kind}");
            assert!(yaml.contains("Default: \"auto\"."), "{kind}");
        }
    }
}

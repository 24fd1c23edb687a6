//! In: a definition whose objects have only the fields that it names. Out: the same, with whose `spec` the API server
//! keeps other fields too.
//!
//! Not because they would mean anything: the compiler's front end refuses each, in the webhook and in the policy's status,
//! and says which field was meant. But an API server prunes what a definition does not know, and only clients that ask for
//! strict validation are told. A filter that is misspelt beside an action would be gone without a word, and the action
//! would be for everything.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Has unknown fields of `spec` kept.
pub(crate) fn unknown_fields_kept(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let spec = schema.and_then(|schema| schema.properties.as_mut()?.get_mut("spec"));
        spec.into_iter().for_each(open);
    }
    definition
}

fn open(schema: &mut JSONSchemaProps) {
    if let Some(properties) = &mut schema.properties {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
        properties.values_mut().for_each(open);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        open(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        open(values);
    }
}

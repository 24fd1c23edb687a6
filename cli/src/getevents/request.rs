//! In: options. Out: the request for those events.

use api::filter::{Filter, FilterError, event_type};
use api::tetragon::{self, GetEventsRequest};

/// Which events to show: those for which all options that are given hold, each by one of its values.
#[derive(Debug, Default, clap::Args)]
pub struct Wanted {
    /// Only events of pods whose name matches one of these regular expressions.
    #[arg(long, alias = "pod", value_name = "REGEX", value_delimiter = ',')]
    pods: Vec<String>,
    /// Only events of pods in these namespaces.
    #[arg(short, long, alias = "namespace", value_name = "NAMESPACE", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Only events of pods in namespaces that match one of these regular expressions.
    #[arg(long, value_name = "REGEX", value_delimiter = ',')]
    namespace_regex: Vec<String>,
    /// Only events of containers whose name matches one of these regular expressions.
    #[arg(long, value_name = "REGEX", value_delimiter = ',')]
    containers: Vec<String>,
    /// Only events of pods with these labels, e.g. app=web,tier!=db; may be given more than once.
    #[arg(short, long, value_name = "SELECTOR")]
    labels: Vec<String>,
    /// Only events of processes outside of pods; with --namespaces, of these namespaces too.
    #[arg(long)]
    host: bool,
    /// Only events of processes whose binary matches one of these regular expressions.
    #[arg(long, alias = "process", value_name = "REGEX", value_delimiter = ',')]
    processes: Vec<String>,
    /// Only events of these types, e.g. PROCESS_EXEC.
    #[arg(short, long, value_name = "TYPE", value_delimiter = ',')]
    event_types: Vec<String>,
    /// Only events of these policies.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    policy_names: Vec<String>,
}

impl Wanted {
    /// The request.
    ///
    /// # Errors
    /// The first value that is none.
    pub fn request(&self) -> Result<GetEventsRequest, FilterError> {
        // Processes outside of pods have the empty namespace.
        let host = self.host.then(String::new);
        let filter = tetragon::Filter {
            binary_regex: self.processes.clone(),
            namespace: self.namespaces.iter().cloned().chain(host).collect(),
            event_set: self.event_types.iter().map(|name| event_type(name)).collect::<Result<_, _>>()?,
            pod_regex: self.pods.clone(),
            labels: self.labels.clone(),
            policy_names: self.policy_names.clone(),
            container_name_regex: self.containers.clone(),
            namespace_regex: self.namespace_regex.clone(),
            ..tetragon::Filter::default()
        };
        // The agent checks it again; here, mistakes are found without one.
        Filter::compile(&filter)?;
        let nothing_asked = filter == tetragon::Filter::default();
        let allow_list = if nothing_asked { Vec::new() } else { vec![filter] };
        Ok(GetEventsRequest { allow_list, ..GetEventsRequest::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_everything_is_asked_for() {
        assert_eq!(Wanted::default().request().unwrap(), GetEventsRequest::default());
    }

    #[test]
    fn options_become_one_filter() {
        let wanted = Wanted {
            host: true,
            namespaces: vec!["a".into()],
            event_types: vec!["process_exit".into()],
            ..Wanted::default()
        };
        let request = wanted.request().unwrap();
        let [filter] = request.allow_list.as_slice() else { panic!("{request:?}") };
        assert_eq!(
            (filter.namespace.as_slice(), filter.event_set.as_slice()),
            (&["a".into(), String::new()][..], &[5][..])
        );
    }

    #[test]
    fn mistakes_are_found_before_an_agent_is_asked() {
        let wanted = Wanted { pods: vec!["(".into()], ..Wanted::default() };
        assert!(wanted.request().unwrap_err().to_string().starts_with("pod_regex: \"(\""));
        let wanted = Wanted { event_types: vec!["PROCESS_FORK".into()], ..Wanted::default() };
        assert!(wanted.request().unwrap_err().to_string().contains("PROCESS_EXEC"));
    }
}

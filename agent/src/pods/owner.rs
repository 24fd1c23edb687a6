//! In: a pod's owner, labels and name. Out: the workload that it belongs to, as people know it.

/// Name and kind of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Name.
    pub name: String,
    /// Kind, e.g. `Deployment`.
    pub kind: String,
}

/// The workload of a pod: its controller, or what has made that; without one, the pod itself.
pub fn workload(pod: &str, controller: Option<Owner>, template_hash: Option<&str>) -> Owner {
    let Some(controller) = controller else { return Owner { name: pod.to_owned(), kind: "Pod".to_owned() } };
    let made_by = match controller.kind.as_str() {
        "ReplicaSet" => of_replica_set(&controller.name, template_hash).map(|name| (name, "Deployment")),
        "ReplicationController" => of_numbered(&controller.name).map(|name| (name, "DeploymentConfig")),
        "Job" => of_job(&controller.name).map(|name| (name, "CronJob")),
        _ => None,
    };
    match made_by {
        Some((name, kind)) => Owner { name: name.to_owned(), kind: kind.to_owned() },
        None => controller,
    }
}

/// `NAME-HASH`, with the hash that the pod's labels have.
fn of_replica_set<'a>(name: &'a str, hash: Option<&str>) -> Option<&'a str> {
    name.strip_suffix(hash.filter(|hash| !hash.is_empty())?)?
        .strip_suffix('-')
        .filter(|name| !name.is_empty())
}

/// `NAME-TIME`, minutes or seconds since 1970: 8 to 10 digits.
fn of_job(name: &str) -> Option<&str> {
    let (name, time) = name.rsplit_once('-')?;
    let is_time = (8..=10).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

/// `NAME-NUMBER`.
fn of_numbered(name: &str) -> Option<&str> {
    let (name, number) = name.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_is_what_people_made() {
        for (kind, name, hash, expected) in [
            ("ReplicaSet", "web-7d4b9c6f5", Some("7d4b9c6f5"), ("web", "Deployment")),
            ("ReplicaSet", "web-7d4b9c6f5", Some("other"), ("web-7d4b9c6f5", "ReplicaSet")),
            ("ReplicaSet", "web", None, ("web", "ReplicaSet")),
            ("Job", "backup-28934412", None, ("backup", "CronJob")),
            ("Job", "backup-1700000000", None, ("backup", "CronJob")),
            ("Job", "backup-1", None, ("backup-1", "Job")),
            ("ReplicationController", "old-12", None, ("old", "DeploymentConfig")),
            ("StatefulSet", "db", None, ("db", "StatefulSet")),
        ] {
            let owner = Owner { name: name.to_owned(), kind: kind.to_owned() };
            let found = workload("pod", Some(owner), hash);
            assert_eq!((found.name.as_str(), found.kind.as_str()), expected);
        }
        let alone = workload("xwing", None, None);
        assert_eq!((alone.name.as_str(), alone.kind.as_str()), ("xwing", "Pod"));
    }
}

//! In: programs as `ferra policy compile` writes them: in the folder `FERRAGON_SET`, if it is set. Out: they are stored as
//! an agent stores them (in `FERRAGON_STATE`), for tests of agents without an operator.

use std::path::{Path, PathBuf};

use agent::daemon::store::Store;
use api::artefact::{Artefact, Attach, Flavour};
use api::fleet::Desired;
use prost::Message;

fn compiled(folder: &Path) -> Vec<Artefact> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let artefacts = files.filter(|path| path.extension().is_some_and(|extension| extension == "artefact"));
    artefacts.map(|path| Artefact::decode(&*std::fs::read(path).unwrap()).unwrap()).collect()
}

/// As the compiler's.
fn write_one(folder: &Path) {
    let attach = Attach { flavour: Flavour::Fentry as i32, target: "f".into(), ..Attach::default() };
    let artefact = Artefact { attach, insns: vec![0; 16], ..Artefact::default() };
    std::fs::write(folder.join("fentry-f.artefact"), artefact.encode_to_vec()).unwrap();
    std::fs::write(folder.join("fentry-f.txt"), "its listing").unwrap();
}

#[test]
fn a_compiled_set_is_stored() {
    let temporary = tempfile::tempdir().unwrap();
    let given = |variable| std::env::var_os(variable).map(PathBuf::from);
    let set = given("FERRAGON_SET").unwrap_or_else(|| {
        write_one(temporary.path());
        temporary.path().to_owned()
    });
    let state = given("FERRAGON_STATE").unwrap_or_else(|| temporary.path().join("state"));
    let artefacts = compiled(&set);
    assert!(!artefacts.is_empty());
    let mut names: Vec<Vec<u8>> = artefacts.iter().map(|artefact| artefact.digest().0.to_vec()).collect();
    names.sort();
    let desired = Desired { generation: 1, artefacts: names };
    Store::open(&state).unwrap().save(&desired, &artefacts).unwrap();

    let stored = Store::open(&state).unwrap().load();
    assert!(stored.damage.is_empty(), "{:?}", stored.damage);
    assert_eq!((stored.desired, stored.artefacts.len()), (Some(desired), artefacts.len()));
}

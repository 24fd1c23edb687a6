//! The fixed programs on the kernel that runs this test; needs root.

use agent::base::{Base, BaseOptions};

#[test]
fn loads_and_attaches() {
    let base = match Base::load(&BaseOptions::default()) {
        Ok(b) => b,
        Err(e) => {
            panic!("{e}")
        }
    };
    assert_eq!(base.losses().unwrap().total(), 0);
}

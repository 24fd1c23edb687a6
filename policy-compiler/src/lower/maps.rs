//! In: a shared map, and where on the stack its key and value are. Out: the call of a helper on them.

use super::Lower;
use super::frame::{Helper, slot};
use crate::emit::{Alu, FP, R1, R2, R3, R4};
use api::artefact::SharedMap;

impl Lower<'_> {
    /// r0 = the value at the u32 in the key slot, or 0.
    pub(super) fn lookup(&mut self, map: SharedMap) {
        self.call_on(Helper::MapLookup, map, slot::KEY);
    }

    /// A helper that takes nothing but a map and a key.
    pub(super) fn call_on(&mut self, helper: Helper, map: SharedMap, key: i16) {
        self.map_and_key(map, key);
        self.asm.call(helper);
    }

    /// Writes the value, whether there is one or not.
    pub(super) fn update(&mut self, map: SharedMap, key: i16, value: i16) {
        self.map_and_key(map, key);
        self.asm.mov(R3, FP);
        self.asm.alu(Alu::Add, R3, i32::from(value));
        self.asm.mov_imm(R4, 0);
        self.asm.call(Helper::MapUpdate);
    }

    fn map_and_key(&mut self, map: SharedMap, key: i16) {
        self.asm.shared_map(R1, map);
        self.asm.mov(R2, FP);
        self.asm.alu(Alu::Add, R2, i32::from(key));
    }
}

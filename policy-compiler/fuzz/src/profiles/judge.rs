//! In: one encoded profile, and policies. Out: how far it came, or what decoder, BTF reader or compiler did wrong.

use std::collections::HashMap;
use std::fmt::Write;

use api::artefact::Artefact;
use api::profile::KernelProfile;
use policy_compiler::btf::{Btf, TypeId};
use policy_compiler::typed::TypedPolicy;
use policy_compiler::{Kernel, compile};
use prost::Message;

use crate::policies::{guarded, judge_result, note};

/// Types in which members are looked for, evenly spread: a search passes thousands at worst, for milliseconds.
const SEARCHED: usize = 60;

/// Longest spelling of a type: a name, and what qualifiers and pointers add.
const SPELLING: usize = 1024;

/// How far an input came.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    /// It was made.
    Made,
    /// It is the encoding of a profile.
    Decoded,
    /// Its types were read.
    Parsed,
    /// There are programs for it.
    Compiled,
}

/// What an input led to.
pub struct Outcome {
    /// How far it came.
    pub stage: Stage,
    /// The profile, if it is one.
    pub profile: Option<KernelProfile>,
    /// What was seen, to tell new outcomes from known ones.
    pub signature: String,
}

/// Gives a profile to all that reads it.
///
/// # Errors
/// What was done wrong.
pub fn judge(input: &[u8], policies: &[TypedPolicy]) -> Result<Outcome, String> {
    let refused = |profile: Option<KernelProfile>, error: &dyn std::fmt::Display| {
        let stage = if profile.is_some() { Stage::Decoded } else { Stage::Made };
        // Without positions, as for policies.
        let signature = error.to_string().chars().filter(|c| !c.is_ascii_digit()).take(200).collect();
        Ok(Outcome { stage, profile, signature })
    };
    let profile = match guarded("decoding", || KernelProfile::decode_bounded(input))? {
        Ok(profile) => profile,
        Err(error) => return refused(None, &error),
    };
    if KernelProfile::decode_bounded(&profile.encode_to_vec()).as_ref() != Ok(&profile) {
        return Err("a decoded profile is another one when it is encoded and decoded again".to_owned());
    }
    let kernel = match guarded("reading the types", || Kernel::new(profile.clone()))? {
        Ok(kernel) => kernel,
        Err(error) => return refused(Some(profile), &error),
    };
    guarded("looking types up", || look_up(&kernel.btf))??;
    let mut signature = String::new();
    let programs = judge_compile(policies, &kernel, &mut signature)?;
    let stage = if programs > 0 { Stage::Compiled } else { Stage::Parsed };
    Ok(Outcome { stage, profile: Some(profile), signature })
}

/// Asks what `resolve` and `lower` may ask of a type.
fn look_up(btf: &Btf) -> Result<(), String> {
    let mut first = HashMap::new();
    let count = u32::try_from(btf.len()).unwrap_or(u32::MAX);
    let every = btf.len() / SEARCHED + 1;
    for (at, id) in (0..count.saturating_add(2)).chain([u32::MAX]).map(TypeId).enumerate() {
        let (kind, name) = (btf.kind(id), btf.name(id));
        let first = *first.entry((kind, name)).or_insert(id);
        if let Some(found) = btf.find(kind, name)
            && found != first
        {
            return Err(format!("looking up type {id:?}, `{name}`, finds {found:?}, not {first:?}"));
        }
        let stripped = btf.strip(id);
        if btf.size(id) != btf.size(stripped) {
            return Err(format!("{id:?} is not of the size of {stripped:?}, which it is another name for"));
        }
        let spelled = btf.spell(id);
        if spelled.len() > SPELLING {
            return Err(format!("the spelling of {id:?} takes {} bytes", spelled.len()));
        }
        if at % every > 0 {
            continue;
        }
        let ends = [btf.return_type(id), btf.pointee(id).unwrap_or(id)];
        for end in btf.params(id).into_iter().take(1).chain(ends) {
            btf.is_signed(end);
            btf.member(end, "f_path|__f_path.dentry");
            btf.member(end, "not_a_member");
        }
    }
    Ok(())
}

fn judge_compile(policies: &[TypedPolicy], kernel: &Kernel, signature: &mut String) -> Result<usize, String> {
    let compiled = guarded("compiling", || compile(policies, kernel))?;
    judge_result(policies, &compiled)?;
    for found in compiled.diagnostics.values().flatten() {
        note(found.code.as_str(), &found.path, signature);
    }
    for artefact in &compiled.artefacts {
        let size = artefact.insns.len().next_power_of_two();
        // Writing to a string does not fail.
        let _ = write!(signature, "{:?} {size};", artefact.attach.flavour);
    }
    let again = guarded("compiling again", || compile(policies, kernel))?;
    let digests = |artefacts: &[Artefact]| artefacts.iter().map(Artefact::digest).collect::<Vec<_>>();
    if digests(&compiled.artefacts) != digests(&again.artefacts) {
        return Err("the same policies and kernel give other programs".to_owned());
    }
    Ok(compiled.artefacts.len())
}

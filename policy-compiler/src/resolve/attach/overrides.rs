//! In: a hook with `Override`. Out: the reasons for which nothing can override there.

use super::Resolver;
use crate::diagnostic::Code;
use crate::resolve::{mode_acts, security_hook_for};
use crate::typed::Action;
use api::artefact::{Attach, Flavour};

impl Resolver<'_, '_> {
    pub(super) fn no_override(&mut self, what: String) {
        if !mode_acts(self.policy) {
            return;
        }
        let hook = self.hook;
        let message = format!(
            "kernel {} has no mechanism to override {what}: fmod_ret does not accept it and bpf_override_return is not built in",
            self.kernel.release()
        );
        let help = match security_hook_for(&hook.point) {
            Some(better) => format!("override `{better}` instead (`call: {better}`, `syscall: false`)"),
            None if self.kernel.has(Flavour::FmodRet) => {
                "Override works on `security_*` functions and LSM hooks".to_owned()
            }
            None => "Override needs fmod_ret programs or BPF LSM; neither works on this kernel".to_owned(),
        };
        let at = self.first_override();
        self.error(Code::Unenforceable, &at, message).help = Some(help);
    }

    /// The kernel tells such a hook what has been decided, and asks it nothing.
    pub(super) fn nothing_to_override(&mut self, name: &str) {
        if mode_acts(self.policy) {
            let message = format!("the LSM hook `{name}` returns nothing, so there is nothing to override");
            let help = "use a hook that decides, or `Sigkill`".to_owned();
            let at = self.first_override();
            self.error(Code::Unenforceable, &at, message).help = Some(help);
        }
    }

    /// Path of the first Override below the hook.
    fn first_override(&self) -> String {
        let at = self.hook.selectors.iter().enumerate().find_map(|(s, selector)| {
            let a = selector.actions.iter().position(|action| matches!(action, Action::Override { .. }))?;
            Some(format!(".selectors[{s}].matchActions[{a}].action"))
        });
        at.unwrap_or_default()
    }

    /// fmod_ret and LSM programs let the call run by returning 0.
    pub(super) fn override_by_zero(&mut self, attach: &Attach) {
        let zero = |action: &Action| matches!(action, Action::Override { error: 0 });
        if !matches!(attach.flavour(), Flavour::FmodRet | Flavour::Lsm) || !mode_acts(self.policy) {
            return;
        }
        let hook = self.hook;
        for (s, selector) in hook.selectors.iter().enumerate() {
            for (a, _) in selector.actions.iter().enumerate().filter(|(_, action)| zero(action)) {
                let at = format!(".selectors[{s}].matchActions[{a}].argError");
                let message =
                    format!("{} cannot make a call return 0 without running it", attach.flavour().describe());
                let problem = self.error(Code::Unenforceable, &at, message);
                problem.help = Some("give a negative error number, such as -1 (EPERM)".to_owned());
            }
        }
    }
}

//! `[hooks]`: how hooks are run. The operator's word; a project's file makes it stricter, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use animus_core::{
    hook::{OnFailure, Point, Settings, TIMEOUTS_MS},
    id::PluginName,
};
use serde::Deserialize;

/// `[hooks]` of one file, or of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Hooks {
    /// Whether the `HOOK.md` folders of the home are run; false when there is no such key.
    #[serde(default)]
    pub(crate) host_processes: bool,
    /// `[hooks.<plugin>]`.
    #[serde(flatten)]
    plugins: BTreeMap<PluginName, Hook>,
    /// What a project wants to be run, whatever the operator switched off.
    #[serde(skip)]
    insisted: BTreeSet<PluginName>,
}

/// How one hook plugin is run; what is not said is as [`Settings::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Hook {
    /// Low ones come first.
    priority: Option<i32>,
    /// The time that one call gets, in milliseconds.
    timeout_ms: Option<u64>,
    /// What is made of its failures.
    on_failure: Option<OnFailure>,
    /// Where it is run, as far as its grant goes.
    events: Option<BTreeSet<Point>>,
    /// Whether it is run at all.
    enabled: Option<bool>,
    /// Keys of the plugin's own configuration, over what its manifest says.
    config: BTreeMap<String, String>,
}

impl Hooks {
    /// Checks what serde cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, hook) in &self.plugins {
            if let Some(ms) = hook.timeout_ms.filter(|ms| !TIMEOUTS_MS.contains(ms)) {
                let (least, most) = (TIMEOUTS_MS.start(), TIMEOUTS_MS.end());
                return Err(format!("[hooks.{name}]: timeout_ms is {ms}, and should be {least} to {most}"));
            }
            if hook.events.as_ref().is_some_and(BTreeSet::is_empty) {
                return Err(format!("[hooks.{name}]: events is empty; to switch the hook off: enabled = false"));
            }
        }
        Ok(())
    }

    /// The operator's, with what a project adds.
    pub(super) fn stricter(mut self, project: Self) -> Result<Self, String> {
        const RULE: &str = "a project can only make hooks stricter: enabled = true, on_failure = 'closed'";
        if project.host_processes {
            return Err(format!("[hooks] host_processes: {RULE}"));
        }
        for (name, theirs) in project.plugins {
            let Hook { priority, timeout_ms, on_failure, events, enabled, config } = theirs;
            let looser = [
                (priority.is_some(), "priority"),
                (timeout_ms.is_some(), "timeout_ms"),
                (events.is_some(), "events"),
                (on_failure == Some(OnFailure::Open), "on_failure"),
                (enabled == Some(false), "enabled"),
                (!config.is_empty(), "config"),
            ];
            if let Some((_, key)) = looser.into_iter().find(|(is, _)| *is) {
                return Err(format!("[hooks.{name}] {key}: {RULE}"));
            }
            if on_failure.is_some() {
                self.plugins.entry(name.clone()).or_default().on_failure = on_failure;
            }
            if enabled.is_some() {
                self.insisted.insert(name);
            }
        }
        Ok(self)
    }

    /// The configuration of each plugin that has some.
    pub(super) fn configs(self) -> BTreeMap<PluginName, BTreeMap<String, String>> {
        let some = |(name, hook): (PluginName, Hook)| (!hook.config.is_empty()).then_some((name, hook.config));
        self.plugins.into_iter().filter_map(some).collect()
    }

    /// The plugins of which something is said.
    pub(crate) fn names(&self) -> impl Iterator<Item = PluginName> {
        self.plugins.keys().chain(&self.insisted).cloned()
    }

    /// How a hook is run, `switched` being what the operator typed last.
    pub(crate) fn settings(&self, name: &PluginName, switched: Option<bool>) -> Settings {
        let none = Hook::default();
        let Hook { priority, timeout_ms, on_failure, events, enabled, .. } = self.plugins.get(name).unwrap_or(&none);
        let default = Settings::default();
        Settings {
            priority: priority.unwrap_or(default.priority),
            timeout_ms: timeout_ms.unwrap_or(default.timeout_ms),
            on_failure: on_failure.unwrap_or(default.on_failure),
            events: events.clone().unwrap_or(default.events),
            enabled: self.insisted.contains(name) || switched.or(*enabled).unwrap_or(default.enabled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Hooks {
        let hooks: Hooks = toml::from_str(text).unwrap();
        hooks.check().unwrap();
        hooks
    }

    fn guard(hooks: &Hooks, switched: Option<bool>) -> Settings {
        hooks.settings(&PluginName::new("guard").unwrap(), switched)
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(guard(&read(""), None), Settings::default());
        let set = read("[guard]\npriority = -1\ntimeout_ms = 10\non_failure = 'open'\nevents = ['after-turn']");
        let expected = Settings {
            priority: -1,
            timeout_ms: 10,
            on_failure: OnFailure::Open,
            events: [Point::AfterTurn].into(),
            enabled: true,
        };
        assert_eq!(guard(&set, None), expected);
    }

    #[test]
    fn what_was_typed_last_goes_before_the_file() {
        let (on, off) = (read("[guard]\nenabled = true"), read("[guard]\nenabled = false"));
        assert!(guard(&on, None).enabled && !guard(&on, Some(false)).enabled);
        assert!(!guard(&off, None).enabled && guard(&off, Some(true)).enabled);
    }

    #[test]
    fn a_project_insists_and_closes() {
        let operator = || read("[guard]\nenabled = false\non_failure = 'open'\npriority = 7");
        let insists = operator().stricter(read("[guard]\nenabled = true")).unwrap();
        assert!(guard(&insists, None).enabled && guard(&insists, Some(false)).enabled);
        assert_eq!(guard(&insists, None).on_failure, OnFailure::Open);
        let closes = operator().stricter(read("[guard]\non_failure = 'closed'")).unwrap();
        let settings = guard(&closes, None);
        assert_eq!((settings.on_failure, settings.priority, settings.enabled), (OnFailure::Closed, 7, false));
    }

    #[test]
    fn a_project_loosens_nothing_by_any_key() {
        for key in [
            "[guard]\nenabled = false",
            "[guard]\non_failure = 'open'",
            "[guard]\npriority = 1",
            "[guard]\ntimeout_ms = 100",
            "[guard]\nevents = ['after-turn']",
            "[guard.config]\nrules = '[]'",
            "host_processes = true",
        ] {
            let refused = Hooks::default().stricter(read(key)).unwrap_err();
            assert!(refused.contains("only make hooks stricter"), "{key}: {refused}");
        }
        assert_eq!(Hooks::default().stricter(read("host_processes = false")), Ok(Hooks::default()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["[guard]\ntimeout_ms = 9", "[guard]\ntimeout_ms = 120001", "[guard]\nevents = []"] {
            assert!(toml::from_str::<Hooks>(text).unwrap().check().is_err(), "{text}");
        }
        for text in ["[guard]\nevent = ['after-turn']", "[guard]\nevents = ['x']", "[Guard]", "host_process = true"] {
            assert!(toml::from_str::<Hooks>(text).is_err(), "{text}");
        }
    }
}

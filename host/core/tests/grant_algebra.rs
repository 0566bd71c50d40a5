//! The algebra of grants, on grants by chance: nothing ever allows more than its parts.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod arbitrary;

use animus_core::{
    authority::Authority,
    grant::{Capability, Grant, HostPattern},
    id::PluginName,
    limits::{Limits, SomeLimits},
};
use arbitrary::{capability, grant, host_pattern};
use proptest::{prelude::*, test_runner::Config};

fn config() -> Config {
    Config { cases: 500, failure_persistence: None, ..Config::default() }
}

/// The one capability that a meet may refuse though both allow it: where no host or no method is left in common,
/// neither is any network.
fn excused(meet: &Grant, capability: &Capability) -> bool {
    matches!(capability, Capability::Network(_)) && meet.http.is_none()
}

fn plugin() -> PluginName {
    PluginName::new("p").unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_meet_allows_exactly_what_both_allow(a in grant(), b in grant(), c in capability()) {
        let meet = a.meet(&b);
        let both = a.allows(&c) && b.allows(&c);
        prop_assert!(both || !meet.allows(&c), "{c} is allowed by the meet alone");
        prop_assert!(meet.allows(&c) || !both || excused(&meet, &c), "{c} is lost");
    }

    #[test]
    fn a_meet_is_within_both_and_the_same_from_either_side(a in grant(), b in grant()) {
        let meet = a.meet(&b);
        prop_assert_eq!(meet.within(&a), Ok(()));
        prop_assert_eq!(meet.within(&b), Ok(()));
        prop_assert_eq!(&meet, &b.meet(&a));
    }

    #[test]
    fn meeting_twice_is_meeting_once(a in grant(), b in grant(), c in capability()) {
        let meet = a.meet(&b);
        prop_assert_eq!(&meet.meet(&meet), &meet);
        let own = a.meet(&a);
        prop_assert_eq!(own.within(&a), Ok(()));
        prop_assert!(own.allows(&c) == a.allows(&c) || excused(&own, &c));
    }

    #[test]
    fn meets_associate_in_what_they_allow(a in grant(), b in grant(), d in grant(), c in capability()) {
        let (left, right) = (a.meet(&b).meet(&d), a.meet(&b.meet(&d)));
        prop_assert!(left.allows(&c) == right.allows(&c) || excused(&left, &c) || excused(&right, &c));
    }

    #[test]
    fn what_is_within_allows_no_more(a in grant(), b in grant(), c in capability()) {
        if a.within(&b).is_ok() {
            prop_assert!(!a.allows(&c) || b.allows(&c), "{c}");
        }
        let narrower = a.meet(&b);
        prop_assert!(!narrower.allows(&c) || a.allows(&c), "{c}");
    }

    #[test]
    fn within_is_reflexive_and_transitive(a in grant(), b in grant(), d in grant()) {
        prop_assert_eq!(a.within(&a), Ok(()));
        prop_assert_eq!(a.within(&Grant::everything()), Ok(()));
        prop_assert_eq!(Grant::default().within(&a), Ok(()));
        let (narrow, narrowest) = (a.meet(&b), a.meet(&b).meet(&d));
        for (x, y, z) in [(&a, &b, &d), (&narrowest, &narrow, &a), (&narrowest, &narrow, &b)] {
            if x.within(y).is_ok() && y.within(z).is_ok() {
                prop_assert_eq!(x.within(z), Ok(()));
            }
        }
    }

    #[test]
    fn an_authority_allows_nothing_that_request_grant_or_ceiling_refuses(
        requested in grant(), granted in grant(), ceiling in grant(), c in capability(),
    ) {
        let authority = Authority::new(plugin(), requested.clone(), granted.clone(), ceiling.clone());
        let all = [&requested, &granted, &ceiling].iter().all(|grant| grant.allows(&c));
        match authority.check(&c) {
            Ok(()) => prop_assert!(all, "{c}"),
            Err(denial) => {
                prop_assert!(!all || excused(authority.effective(), &c), "{c}: {denial}");
                prop_assert_eq!(denial.capability, c.to_string());
            }
        }
    }

    #[test]
    fn the_limits_in_force_pass_neither_the_grant_nor_the_ceiling(
        requested in grant(), granted in grant(), ceiling in grant(),
    ) {
        let authority = Authority::new(plugin(), requested.clone(), granted.clone(), ceiling.clone());
        let limits = authority.limits();
        prop_assert!(limits.within(&granted.limits.or(Limits::default())));
        prop_assert!(limits.within(&ceiling.limits.or(Limits::unlimited())));
        prop_assert!(limits.within(&requested.limits.or(Limits::unlimited())));
    }

    #[test]
    fn what_is_derived_holds_at_most_what_its_deriver_holds(
        requested in grant(), granted in grant(), ceiling in grant(), asked in grant(), again in grant(), c in capability(),
    ) {
        let deriver = Authority::new(plugin(), requested, granted, ceiling);
        let derived = asked.meet(deriver.effective());
        prop_assert_eq!(derived.within(deriver.effective()), Ok(()));
        let twice = again.meet(&derived);
        prop_assert!(!twice.allows(&c) || deriver.check(&c).is_ok(), "{c}");
    }

    #[test]
    fn a_secret_goes_only_where_request_grant_and_ceiling_send_it(
        requested in grant(), granted in grant(), ceiling in grant(), to in host_pattern(),
    ) {
        let (scheme, port) = (to.scheme.unwrap_or_else(|| "https".to_owned()), to.port.unwrap_or(443));
        let authority = Authority::new(plugin(), requested.clone(), granted.clone(), ceiling.clone());
        for secret in authority.secrets_for(&scheme, &to.host, port) {
            prop_assert_ne!(&secret.handle, "*");
            for grant in [&requested, &granted, &ceiling] {
                let http = grant.http.as_ref().unwrap();
                let sends = http.secrets.iter().any(|held| {
                    (held.handle == "*" || held.handle == secret.handle && held.header == secret.header)
                        && held.host.matches(&scheme, &to.host, port)
                });
                prop_assert!(sends);
            }
        }
    }

    #[test]
    fn a_grant_widened_by_one_capability_allows_it_and_tells_what_else_it_allows(
        grant in grant(), request in grant(), c in capability(), other in capability(),
    ) {
        let mut wider = grant.clone();
        match wider.add(&c, &request) {
            Err(_) => prop_assert_eq!(&wider, &grant, "a failed widening left a trace"),
            Ok(also) => {
                prop_assert!(request.allows(&c));
                prop_assert!(wider.allows(&c), "{c}");
                prop_assert_eq!(grant.within(&wider), Ok(()));
                let more = wider.allows(&other) && !grant.allows(&other);
                if more && matches!(other, Capability::Http { .. }) && other != c {
                    prop_assert!(!also.is_empty(), "{other} came with {c}");
                }
            }
        }
    }

    #[test]
    fn written_forms_read_back_as_the_same(grant in grant(), c in capability(), host in host_pattern()) {
        if !matches!(&c, Capability::Path(path) if path.check().is_err()) {
            prop_assert_eq!(c.to_string().parse::<Capability>(), Ok(c));
        }
        prop_assert_eq!(host.to_string().parse::<HostPattern>(), Ok(host));
        let json = serde_json::to_string(&grant).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Grant>(&json).unwrap(), &grant);
        // A grant file refuses what has no effect; serde, which reads the store's own writing, does not.
        let idle = grant.llm.as_ref().is_some_and(|llm| llm.roles.is_empty())
            || grant.spawn_child.as_ref().is_some_and(|it| it.faculties.is_empty() || it.max == 0)
            || grant.http.as_ref().is_some_and(|http| http.hosts.is_empty())
            || grant.check().is_err();
        if !idle {
            let text = grant.to_toml().unwrap();
            prop_assert_eq!(Grant::parse_toml(&text).unwrap(), grant, "{}", text);
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}", kind in "(llm|tool|spawn-child|hook|http|path|network|interface):") {
        let _ = text.parse::<Capability>();
        let _ = text.parse::<HostPattern>();
        if let Ok(capability) = format!("{kind}{text}").parse::<Capability>() {
            prop_assert_eq!(capability.to_string().parse::<Capability>(), Ok(capability));
        }
    }
}

#[test]
fn silence_about_limits_is_the_default_in_a_grant_and_no_limit_in_a_ceiling() {
    let limit = |memory_bytes| Grant {
        limits: SomeLimits { memory_bytes: Some(memory_bytes), ..SomeLimits::default() },
        ..Grant::default()
    };
    let silent = Grant::default;
    let default = Limits::default().memory_bytes;
    for (requested, granted, ceiling, in_force) in [
        (silent(), silent(), silent(), default),
        (limit(default * 4), silent(), silent(), default),
        (limit(default * 4), limit(default * 2), silent(), default * 2),
        (limit(default * 4), limit(default * 4), limit(5), 5),
        (limit(7), limit(default * 4), silent(), 7),
        (silent(), limit(default * 4), silent(), default * 4),
        (silent(), limit(default * 4), limit(9), 9),
    ] {
        let authority = Authority::new(plugin(), requested, granted, ceiling);
        assert_eq!(authority.limits().memory_bytes, in_force);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_child_and_its_children_hold_at_most_what_their_parents_hold(
        parent in grant(), of_parent in proptest::option::of(grant()), asked in grant(), again in grant(), c in capability(),
    ) {
        let cap = animus_core::child::cap(&parent, of_parent.as_ref());
        prop_assert_eq!(cap.within(&parent), Ok(()));
        if let Some(above) = &of_parent {
            prop_assert_eq!(cap.within(above), Ok(()));
        }
        // What a host puts in force for the child's faculty, whatever that is granted; and for the child's own child.
        let child = Authority::new(plugin(), asked.clone(), asked, cap.clone());
        let below = animus_core::child::cap(child.effective(), Some(&cap));
        let grandchild = Authority::new(plugin(), again.clone(), again, below);
        for authority in [&child, &grandchild] {
            let allowed = authority.check(&c).is_ok();
            prop_assert!(!allowed || parent.allows(&c) && of_parent.as_ref().is_none_or(|above| above.allows(&c)), "{c}");
        }
    }
}

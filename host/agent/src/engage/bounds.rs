//! What the operator's configuration of a faculty makes of what the faculty itself asks for.

use animus_core::{faculty, services::EngageOptions};

use super::{MOST_TURNS, TURNS};

/// The options as they are run: what the faculty left open is the configuration's to say, and its figures are bounds.
pub(super) fn within(config: &faculty::Engage, options: EngageOptions) -> EngageOptions {
    let model = match options.model.is_empty() {
        true => config.model.clone().unwrap_or_else(|| "default".to_owned()),
        false => options.model,
    };
    let max_turns = match config.max_turns {
        Some(most) => options.max_turns.unwrap_or(most).min(most),
        // Without an operator's word the host's own bound holds.
        None => options.max_turns.unwrap_or(TURNS).min(MOST_TURNS),
    };
    let max_tokens = match (options.max_tokens, config.max_tokens) {
        (Some(asked), Some(most)) => Some(asked.min(most)),
        (asked, most) => asked.or(most),
    };
    EngageOptions {
        model,
        max_turns: Some(max_turns),
        max_tokens,
        temperature: options.temperature.or(config.temperature),
        ..options
    }
}

/// How many tool calls of one turn run at the same time.
pub(super) fn at_once(config: &faculty::Engage) -> usize {
    if config.parallel_tools { usize::try_from(config.max_parallel_tools).unwrap_or(1).max(1) } else { 1 }
}

/// Whether a tool of a plugin may be on offer, as far as the configuration goes.
pub(super) fn offers(config: &faculty::Engage, tool: &str) -> bool {
    config.tools.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(tool)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_faculty_leaves_open_the_operator_says_and_the_operators_figures_are_bounds() {
        let config = faculty::Engage {
            model: Some("planner".into()),
            max_turns: Some(300),
            max_tokens: Some(100),
            temperature: Some(0.5),
            ..faculty::Engage::default()
        };
        let open = within(&config, EngageOptions::default());
        assert_eq!((open.model.as_str(), open.max_turns, open.max_tokens), ("planner", Some(300), Some(100)));
        assert_eq!(open.temperature, Some(0.5));
        let asked = |turns, tokens| EngageOptions {
            model: "fast".into(),
            max_turns: Some(turns),
            max_tokens: Some(tokens),
            temperature: Some(1.0),
            ..EngageOptions::default()
        };
        let less = within(&config, asked(3, 10));
        assert_eq!((less.model.as_str(), less.max_turns, less.max_tokens), ("fast", Some(3), Some(10)));
        assert_eq!(less.temperature, Some(1.0));
        let more = within(&config, asked(999, 999));
        assert_eq!((more.max_turns, more.max_tokens), (Some(300), Some(100)));

        let silent = within(&faculty::Engage::default(), EngageOptions::default());
        assert_eq!((silent.model.as_str(), silent.max_turns, silent.max_tokens), ("default", Some(TURNS), None));
        assert_eq!(within(&faculty::Engage::default(), asked(999, 999)).max_turns, Some(MOST_TURNS));
    }

    #[test]
    fn tools_run_one_after_another_where_the_operator_says_so() {
        let of = |parallel_tools, max_parallel_tools| {
            at_once(&faculty::Engage { parallel_tools, max_parallel_tools, ..faculty::Engage::default() })
        };
        assert_eq!((of(true, 8), of(true, 2), of(false, 8)), (8, 2, 1));
    }

    #[test]
    fn only_tools_that_the_operator_names_are_on_offer() {
        let named = faculty::Engage { tools: Some(vec!["fs.*".parse().unwrap()]), ..faculty::Engage::default() };
        assert!(offers(&named, "fs.read_file") && !offers(&named, "web.fetch"));
        assert!(offers(&faculty::Engage::default(), "web.fetch"));
    }
}

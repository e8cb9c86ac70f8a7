//! The options of `create_subscription`: from JSON to the WITH list of CREATE SUBSCRIPTION.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::error::{Error, Kind, Result, invalid};
use crate::json::{from_object, refuse_later};
use crate::secret::shown;
use crate::{name, sql};

/// The options of `create_subscription`. If a key is absent, PostgreSQL's default applies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    pub slot_name: Option<String>,
    pub create_slot: Option<bool>,
    pub copy_data: Option<bool>,
    pub enabled: Option<bool>,
    pub binary: Option<bool>,
    pub streaming: Option<Streaming>,
    pub two_phase: Option<bool>,
    pub disable_on_error: Option<bool>,
    pub origin: Option<String>,
    pub synchronous_commit: Option<String>,
    pub failover: Option<bool>,
    run_as_owner: Option<IgnoredAny>,
    password_required: Option<IgnoredAny>,
    connect: Option<IgnoredAny>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Streaming {
    Switch(bool),
    Mode(String),
}

impl Options {
    /// The options of `pg_create_subscription`.
    pub fn basic(slot_name: &str, create_slot: bool, copy_data: bool, origin: &str) -> Self {
        Self {
            slot_name: Some(slot_name.to_owned()),
            create_slot: Some(create_slot),
            copy_data: Some(copy_data),
            origin: Some(origin.to_owned()),
            ..Self::default()
        }
    }

    /// Reads and checks the options for a subscriber of `major`.
    pub fn parse(options: Value, major: u16) -> Result<Self> {
        let options: Self = from_object(options).map_err(|error| {
            invalid("invalid subscription options").detail(format!("{error}.")).hint(
                "Give a JSON object with any of: slot_name, create_slot, copy_data, enabled, binary, \
                 streaming, two_phase, disable_on_error, origin, synchronous_commit, failover.",
            )
        })?;
        options.check(major)?;
        Ok(options)
    }

    /// Checks every value. Options that were not parsed from JSON need this, too.
    pub fn check(&self, major: u16) -> Result<()> {
        self.check_forbidden()?;
        self.check_major(major)?;
        if let Some(slot) = &self.slot_name {
            name::check_slot(slot)?;
        }
        if let Some(Streaming::Mode(mode)) = &self.streaming {
            one_of("streaming", mode, &["on", "off", "parallel"])?;
        }
        if let Some(origin) = &self.origin {
            one_of("origin", origin, &["any", "none"])?;
        }
        if let Some(level) = &self.synchronous_commit {
            one_of(
                "synchronous_commit",
                level,
                &["off", "local", "remote_write", "remote_apply", "on"],
            )?;
        }
        Ok(())
    }

    fn check_forbidden(&self) -> Result<()> {
        let forbidden = [
            (
                "run_as_owner",
                self.run_as_owner.is_some(),
                "Changes are applied with the rights of each table's owner.",
            ),
            (
                "password_required",
                self.password_required.is_some(),
                "The publisher must ask for a password.",
            ),
            (
                "connect",
                self.connect.is_some(),
                "The publisher is always asked which tables it publishes.",
            ),
        ];
        match forbidden.into_iter().find(|(_, given, _)| *given) {
            Some((option, _, reason)) => Err(Error::new(
                Kind::InsufficientPrivilege,
                format!("subscription option \"{option}\" is not allowed"),
            )
            .detail(reason)
            .hint("Remove it.")),
            None => Ok(()),
        }
    }

    fn check_major(&self, major: u16) -> Result<()> {
        let parallel = matches!(&self.streaming, Some(Streaming::Mode(mode)) if mode == "parallel");
        let later = [
            ("origin", self.origin.as_deref().is_some_and(|origin| origin != "any"), 16),
            ("streaming = parallel", parallel, 16),
            ("failover", self.failover.is_some(), 17),
        ];
        refuse_later("subscription", later, major)
    }

    /// The WITH list for a CREATE SUBSCRIPTION that does not connect.
    pub fn with_list(&self, slot: &str, major: u16) -> String {
        let mut list =
            vec!["connect = false".to_owned(), format!("slot_name = {}", sql::literal(slot))];
        let mut push = |option: &str, value: Option<String>| {
            list.extend(value.map(|value| format!("{option} = {value}")));
        };
        let switch = |value: Option<bool>| value.map(|on| on.to_string());
        push("binary", switch(self.binary));
        push("two_phase", switch(self.two_phase));
        push("disable_on_error", switch(self.disable_on_error));
        push("failover", switch(self.failover));
        push("synchronous_commit", self.synchronous_commit.as_deref().map(sql::literal));
        push(
            "streaming",
            self.streaming.as_ref().map(|streaming| match streaming {
                Streaming::Switch(on) => on.to_string(),
                Streaming::Mode(mode) => sql::literal(mode),
            }),
        );
        if major >= 16 {
            push("origin", self.origin.as_deref().map(sql::literal));
        }
        list.join(", ")
    }
}

fn one_of(option: &str, value: &str, allowed: &[&str]) -> Result<()> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(invalid(format!(
        "invalid value for subscription option \"{option}\": \"{}\"",
        shown(value)
    ))
    .hint(format!("Use one of: {}.", allowed.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, major: u16) -> Result<Options> {
        Options::parse(serde_json::from_str(json).expect("JSON"), major)
    }

    fn kind(json: &str, major: u16) -> Kind {
        parse(json, major).expect_err("must be refused").kind
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = parse(r#"{"slotname": "x"}"#, 18).unwrap_err();
        assert_eq!(error.kind, Kind::InvalidParameter);
        assert!(error.detail.unwrap().contains("slotname"));
    }

    #[test]
    fn options_of_a_later_major_are_refused() {
        assert_eq!(kind(r#"{"failover": true}"#, 16), Kind::FeatureNotSupported);
        assert_eq!(kind(r#"{"origin": "none"}"#, 15), Kind::FeatureNotSupported);
        assert_eq!(kind(r#"{"streaming": "parallel"}"#, 15), Kind::FeatureNotSupported);
        assert!(parse(r#"{"origin": "any"}"#, 15).is_ok());
        assert!(parse(r#"{"failover": true}"#, 17).is_ok());
    }

    #[test]
    fn rights_cannot_be_widened() {
        for json in [
            r#"{"run_as_owner": true}"#,
            r#"{"password_required": false}"#,
            r#"{"connect": false}"#,
        ] {
            assert_eq!(kind(json, 18), Kind::InsufficientPrivilege);
        }
    }

    #[test]
    fn values_are_checked() {
        for json in [
            r#"{"streaming": "maybe"}"#,
            r#"{"origin": "x') --"}"#,
            r#"{"synchronous_commit": "x"}"#,
            r#"{"binary": "yes"}"#,
            "[]",
            "null",
        ] {
            assert_eq!(kind(json, 18), Kind::InvalidParameter, "{json}");
        }
    }

    #[test]
    fn the_with_list_has_only_what_was_asked_for() {
        assert_eq!(Options::default().with_list("s", 15), "connect = false, slot_name = 's'");
        let options =
            parse(r#"{"streaming": "parallel", "binary": true, "origin": "none"}"#, 16).unwrap();
        assert_eq!(
            options.with_list("s", 16),
            "connect = false, slot_name = 's', binary = true, streaming = 'parallel', origin = 'none'"
        );
    }
}

//! How each probe fared.

use serde::Serialize;

use super::plan::{Choice, Probe, Twin};

/// What became of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It is attached.
    Attached {
        /// In which form.
        twin: Twin,
    },
    /// The kernel has no such place.
    Unsupported {
        /// What is lost by it.
        reason: String,
    },
    /// The kernel has it, but refused the program.
    Broken {
        /// The kernel's answer.
        reason: String,
    },
}

/// One probe's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeHealth {
    /// The probe.
    pub probe: Probe,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl ProbeHealth {
    /// For people: what is not attached, why, and what is lost. `None`: it is attached.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let lost = self.probe.without().unwrap_or("nothing works without it");
        let name = self.probe.name();
        match &self.verdict {
            Verdict::Attached { .. } => None,
            Verdict::Unsupported { .. } => Some(format!("this kernel has no {name}: {lost}")),
            Verdict::Broken { reason } => Some(format!("{name} could not be attached ({reason}): {lost}")),
        }
    }

    pub(crate) fn attached(choice: Choice) -> Self {
        Self { probe: choice.probe, verdict: Verdict::Attached { twin: choice.twin } }
    }

    pub(crate) fn broken(probe: Probe, reason: String) -> Self {
        Self { probe, verdict: Verdict::Broken { reason } }
    }

    pub(crate) fn unsupported(probe: Probe, reason: String) -> Self {
        Self { probe, verdict: Verdict::Unsupported { reason } }
    }
}

//! How each probe fared.

use serde::Serialize;

use super::plan::Plan;
use super::probe::{Choice, Probe, Twin};

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
    /// The plan does without.
    NotNeeded,
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
    /// For people: what is not attached, why, and what is lost. `None`: nothing is missing.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let lost = self.probe.without().unwrap_or("nothing works without it");
        let name = self.probe.place();
        match &self.verdict {
            Verdict::Attached { .. } | Verdict::NotNeeded => None,
            Verdict::Unsupported { .. } => Some(format!("this kernel has no {name}: {lost}")),
            Verdict::Broken { reason } => Some(format!("{name} could not be attached: {reason}; without it {lost}")),
        }
    }

    /// For people: in which form it is attached, or why it is not.
    #[must_use]
    pub fn outcome(&self) -> String {
        match &self.verdict {
            Verdict::Attached { twin } => format!("attached, {}", twin.name()),
            Verdict::Unsupported { reason } => format!("unsupported: this kernel has none; {reason}"),
            Verdict::Broken { reason } => {
                format!("broken: {reason}; {}", self.probe.without().unwrap_or("nothing works without it"))
            }
            Verdict::NotNeeded => "not needed".to_owned(),
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

/// What a plan tells, beyond the writes that end with a CQE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// What.
    pub name: &'static str,
    /// Whether the plan tells it here.
    pub yes: bool,
    /// By what, or why not.
    pub how: String,
}

/// What `plan` tells with these verdicts.
#[must_use]
pub fn capabilities(plan: &Plan, health: &[ProbeHealth]) -> Vec<Capability> {
    let attached =
        |probe: Probe| health.iter().any(|h| h.probe == probe && matches!(h.verdict, Verdict::Attached { .. }));
    let by = |name: &'static str, probes: &[Probe]| {
        let how: Vec<_> = probes.iter().filter(|p| attached(**p)).map(|p| p.place()).collect();
        let yes = !how.is_empty();
        let how = if yes { how.join(", ") } else { "no probe that tells it".to_owned() };
        Capability { name, yes, how }
    };
    let overflow = if plan.tells_overflow_itself() {
        Capability { name: "CQ overflow", yes: true, how: "fill of the CQ ring at io_uring_complete".to_owned() }
    } else {
        by("CQ overflow", &[Probe::IoUringCqeOverflow])
    };
    let silent = if plan.flags.cqe_skip == 0 {
        Capability {
            name: "end of writes without a CQE",
            yes: true,
            how: "every write of this kernel posts a CQE".to_owned(),
        }
    } else {
        by("end of writes without a CQE", &[Probe::IoWriteReturn])
    };
    vec![
        by("refused writes", &[Probe::IoUringReqFailed, Probe::IoReqCompletePost]),
        by("hand-over to io-wq", &[Probe::IoUringQueueAsyncWork, Probe::IoSubmitSqe]),
        overflow,
        by("links cancelled without a CQE", &[Probe::IoUringFailLink]),
        silent,
        by("creator of SQPOLL rings", &[Probe::IoUringCreate, Probe::IoUringSetup]),
        Capability {
            name: "typed reads",
            yes: plan.is_typed(),
            how: if plan.is_typed() { "bpf_rdonly_cast" } else { "a helper call for each field" }.to_owned(),
        },
    ]
}

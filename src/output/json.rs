//! One JSON object a line, as docs/events.md describes it.
//!
//! Writes are many, so their text is put together here from constant keys and from what is rendered once for each
//! path and process. The derived serialisation of [`crate::event`] is the definition; a test holds both equal.

use super::Encode;
use crate::event::{Completion, Data, Event, Executor, IoWrite, Outcome, Submitter, Text, Timestamp};
use crate::json;

/// The native format.
#[derive(Debug, Default)]
pub struct Json {
    /// The second that was written last, and its text up to the point.
    second: i64,
    text: String,
}

impl Encode for Json {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        match &event.data {
            Data::IoWrite(write) => self.write(event, write, out),
            _ => {
                // No value of an event can refuse.
                if let Ok(json) = json::to_string(event) {
                    out.extend_from_slice(json.as_bytes());
                }
            }
        }
        out.push(b'\n');
    }
}

const SECOND: i64 = 1_000_000_000;

impl Json {
    fn timestamp(&mut self, timestamp: Timestamp, out: &mut Vec<u8>) {
        let second = timestamp.0.div_euclid(SECOND);
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text = Timestamp(second.saturating_mul(SECOND)).to_string();
            self.text.truncate(self.text.find('.').unwrap_or(self.text.len()));
        }
        out.extend_from_slice(self.text.as_bytes());
        let mut digits = *b".000000000Z";
        let mut rest = timestamp.0.rem_euclid(SECOND);
        for digit in digits[1..10].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }

    fn write(&mut self, event: &Event, w: &IoWrite, out: &mut Vec<u8>) {
        // Most lines fit, so that the buffer grows once.
        out.reserve(1024);
        let mut line = Line(out);
        line.raw(r#"{"timestamp":""#);
        self.timestamp(event.timestamp, line.0);
        let (file, r) = (&w.file, &w.request);
        line.raw(r#"","event":"io_write","data":{"path":"#);
        match &file.path {
            None => line.raw("null"),
            Some(path) => line.string(path),
        }
        if let Some(bytes) = &file.path_bytes {
            line.raw(r#","path_bytes":""#);
            bytes.append_to(line.0);
            line.raw("\"");
        }
        if file.path_truncated {
            line.raw(r#","path_truncated":true"#);
        }
        if let Some(detached) = file.path_detached {
            line.text(r#","path_detached":"#, detached.name());
        }
        if let Some(unknown) = file.path_unknown {
            line.text(r#","path_unknown":"#, unknown.name());
        }
        line.flag(r#","deleted":"#, file.deleted);
        if file.path_stale {
            line.raw(r#","path_stale":true"#);
        }
        line.maybe(r#","pos":"#, w.pos);
        line.hex(r#","buf":""#, w.buf.0);
        line.number(r#"","len":"#, w.len);
        if let Some(count) = w.iov_count {
            line.number(r#","iov_count":"#, count);
        }
        line.number(r#","worker_host_tid":"#, r.worker_host_tid);
        line.maybe(r#","device":"#, file.device);
        line.maybe(r#","inode":"#, file.inode);
        line.name(r#","opcode":"#, r.opcode);
        line.maybe(r#","result":"#, r.result);
        line.name(r#","error":"#, r.error);
        line.raw(match r.outcome {
            Outcome::Success => r#","outcome":"success","completion":"#,
            Outcome::Failure => r#","outcome":"failure","completion":"#,
            Outcome::Unknown => r#","outcome":"unknown","completion":"#,
        });
        line.raw(match r.completion {
            Completion::Cqe => r#""cqe""#,
            Completion::Overflow => r#""overflow""#,
            Completion::Skipped => r#""skipped""#,
            Completion::Link => r#""link""#,
            Completion::Unseen => r#""unseen""#,
            Completion::InFlight => r#""in_flight""#,
            Completion::Untracked => r#""untracked""#,
        });
        line.maybe(r#","latency_ns":"#, r.latency_ns);
        line.raw(match r.submitter {
            Submitter::Thread => r#","submitter":"thread","executor":"#,
            Submitter::Sqpoll => r#","submitter":"sqpoll","executor":"#,
        });
        line.raw(match r.executor {
            None => "null",
            Some(Executor::Submitter) => r#""submitter""#,
            Some(Executor::IoWq) => r#""io-wq""#,
            Some(Executor::Sqpoll) => r#""sqpoll""#,
            Some(Executor::Kernel) => r#""kernel""#,
        });
        line.maybe(r#","executor_host_tid":"#, r.executor_host_tid);
        line.number(r#","user_data":"#, r.user_data);
        line.maybe(r#","fd":"#, w.descriptor.fd);
        line.flag(r#","fixed_file":"#, w.descriptor.fixed_file);
        line.maybe(r#","rw_flags":"#, w.rw_flags);
        line.hex(r#","ctx":""#, r.ctx.0);
        line.number(r#"","opcode_number":"#, r.opcode_number);
        if r.names_dropped {
            line.raw(r#","names_dropped":true"#);
        }
        if let Some(life) = &r.life {
            line.raw(r#","life":"#);
            line.raw(&json::to_string(life).unwrap_or_else(|_| "null".to_owned()));
        }
        line.raw("}");
        if let Some(process) = &event.process {
            line.raw(r#","process":"#);
            line.raw(&process.json());
        }
        line.raw("}");
    }
}

/// The end of a line in the making. Keys come with their quotes and colon.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, key: &str, value: impl itoa::Integer) {
        self.raw(key);
        self.raw(itoa::Buffer::new().format(value));
    }

    fn maybe(&mut self, key: &str, value: Option<impl itoa::Integer>) {
        match value {
            Some(value) => self.number(key, value),
            None => {
                self.raw(key);
                self.raw("null");
            }
        }
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.raw(key);
        self.raw(if value { "true" } else { "false" });
    }

    fn string(&mut self, text: &Text) {
        match text.plain() {
            Some(plain) => {
                self.raw("\"");
                self.0.extend_from_slice(plain);
                self.raw("\"");
            }
            // A text can always be serialised.
            None => self.raw(&json::to_string(text).unwrap_or_else(|_| "null".to_owned())),
        }
    }

    /// For values without characters that JSON escapes: names of constants.
    fn text(&mut self, key: &str, value: &str) {
        self.raw(key);
        self.raw("\"");
        self.raw(value);
        self.raw("\"");
    }

    /// Of a constant.
    fn name(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => {
                self.raw(key);
                self.raw("null");
            }
        }
    }

    /// Without the closing quote.
    fn hex(&mut self, key: &str, value: u64) {
        self.raw(key);
        let mut text = *b"0x0000000000000000";
        for (digits, byte) in text[2..].as_chunks_mut().0.iter_mut().zip(value.to_be_bytes()) {
            *digits = HEX[usize::from(byte)];
        }
        // Without zeros at its beginning.
        let zeros = usize::try_from(value.max(1).leading_zeros() / 4).unwrap_or(0);
        text.copy_within(..2, zeros);
        self.0.extend_from_slice(&text[zeros..]);
    }
}

/// Each byte in two digits.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        pairs[i] = [DIGITS[i >> 4], DIGITS[i & 15]];
        i += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{
        Descriptor, Detached, EventsLost, File, LossCause, PathUnknown, Pointer, Process, Rendered, Request, Stage,
        Step,
    };

    fn process() -> Process {
        Process {
            host_pid: 1,
            host_tid: 2,
            pid: 3,
            tid: 4,
            thread_from_name: true,
            ppid: 5,
            name: "quo\"te\u{9b}".into(),
            name_bytes: None,
            executable: None,
            executable_bytes: None,
            command_line: Some("a\nb".into()),
            command_line_bytes: None,
            command_line_truncated: true,
            command_line_missing: None,
            uid: 6,
            start_time: Timestamp(-1),
            cgroup_id: 7,
            mount_ns: 8,
            pid_ns: 9,
        }
    }

    prop_compose! {
        fn writes()(
            path in option::of(prop_oneof![any::<Vec<u8>>(), "[\u{7f}-\u{9f}\u{2028}-\u{202e}/x]*".prop_map(String::into_bytes)]),
            (truncated, deleted, path_stale, fixed_file) in any::<(bool, bool, bool, bool)>(),
            (pos, buf, len, tid) in any::<(Option<i64>, u64, u32, u32)>(),
            (iov_count, device, inode, result) in any::<(Option<u32>, Option<u32>, Option<u64>, Option<i32>)>(),
            (latency_ns, executor_host_tid, user_data, fd) in any::<(Option<u64>, Option<u32>, u64, Option<i32>)>(),
            rw_flags in option::of(any::<u32>()),
            path_detached in prop::sample::select(vec![None, Some(Detached::Nowhere), Some(Detached::OtherNamespace), Some(Detached::Unreachable)]),
            path_unknown in prop::sample::select(vec![None, Some(PathUnknown::NoFile), Some(PathUnknown::Renamed), Some(PathUnknown::NoName), Some(PathUnknown::TooDeep), Some(PathUnknown::Forgotten)]),
            (opcode, opcode_number) in prop::sample::select(vec![(None, 99), (Some("WRITE"), 23), (Some("WRITEV"), 2)]),
            (ctx, names_dropped) in any::<(u64, bool)>(),
            life in option::of(prop::sample::select(vec![vec![], vec![Step { stage: Stage::PollArmed, after_ns: 1, times: Some(2) }]])),
            error in prop::sample::select(vec![None, Some("ENOSPC")]),
            outcome in prop::sample::select(vec![Outcome::Success, Outcome::Failure, Outcome::Unknown]),
            completion in prop::sample::select(vec![Completion::Cqe, Completion::Overflow, Completion::Skipped, Completion::Link, Completion::Unseen, Completion::InFlight, Completion::Untracked]),
            submitter in prop::sample::select(vec![Submitter::Thread, Submitter::Sqpoll]),
            executor in prop::sample::select(vec![None, Some(Executor::Submitter), Some(Executor::IoWq), Some(Executor::Sqpoll), Some(Executor::Kernel)]),
        ) -> IoWrite {
            let path = path.map(|p| Text::new(&p, truncated));
            IoWrite {
                file: File {
                    path_bytes: path.as_ref().and_then(Text::base64),
                    path_truncated: truncated,
                    path_detached, path_unknown, path, deleted, path_stale, device, inode,
                },
                descriptor: Descriptor { fd, fixed_file },
                pos, buf: Pointer(buf), len, iov_count, rw_flags,
                request: Request {
                    opcode, opcode_number, user_data, ctx: Pointer(ctx), result, error, outcome, completion, latency_ns,
                    submitter, worker_host_tid: tid, executor, executor_host_tid, names_dropped, life,
                },
            }
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_writes_what_the_definition_says(
            writes in prop::collection::vec((writes(), any::<bool>(), 0i64..2_000_000_000_000_000_000), 1..5),
        ) {
            let mut json = Json::default();
            for (write, known, ns) in writes {
                let process = known.then(|| Arc::new(Rendered::new(process())));
                let event = Event { timestamp: Timestamp(ns), data: Data::IoWrite(write), process };
                let mut out = vec![];
                json.encode(&event, &mut out);
                // The order of the keys is that of the text.
                let told: serde_json::Value = serde_json::from_slice(&out).unwrap();
                prop_assert_eq!(told, serde_json::to_value(&event).unwrap());
                prop_assert_eq!(out.iter().position(|&b| b == b'\n'), Some(out.len() - 1));
            }
        }
    }

    #[test]
    fn a_loss_is_a_line_as_well() {
        let lost = EventsLost { count: 3, cause: LossCause::RingFull };
        let event = Event { timestamp: Timestamp(1), data: Data::EventsLost(lost), process: None };
        let mut out = vec![];
        Json::default().encode(&event, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000001Z\",\"event\":\"events_lost\",\
             \"data\":{\"count\":3,\"cause\":\"ring_full\"}}\n"
        );
    }
}

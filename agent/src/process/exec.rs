//! In: the bytes of an exec record. Out: its parts, and what they say of the process.

use api::event::{ProcessFlags, ProcessInfo};
use bpf_programs::layout::{
    EXEC_ARGS_LOST, EXEC_CWD_INCOMPLETE, EXEC_ERROR_ARGS, EXEC_ERROR_FILENAME, EXEC_FORKED,
    EXEC_IN_INIT_TREE, EXEC_MISSED, EXEC_NO_CWD, ExecRecord, take,
};

use super::arguments;

/// An exec record with its texts.
pub(super) struct Exec<'a> {
    pub(super) record: ExecRecord,
    filename: &'a [u8],
    cwd: &'a [u8],
    /// Last component of the cgroup's path.
    pub(super) cgroup: &'a [u8],
    args: &'a [u8],
}

impl Exec<'_> {
    /// The parts of a record; `None` if it is too short for them.
    pub(super) fn parse(bytes: &[u8]) -> Option<Exec<'_>> {
        let (record, texts) = take::<ExecRecord>(bytes)?;
        let (filename, texts) = texts.split_at_checked(record.filename_len.into())?;
        let (cwd, texts) = texts.split_at_checked(record.cwd_len.into())?;
        let (cgroup, texts) = texts.split_at_checked(record.cgroup_len.into())?;
        let args = texts.get(..usize::try_from(record.args_len).ok()?)?;
        Some(Exec { record, filename, cwd, cgroup, args })
    }

    fn is(&self, flag: u16) -> bool {
        self.record.header.flags & flag != 0
    }

    /// It replaces an image that a fork made, not an exec.
    pub(super) fn forked(&self) -> bool {
        self.is(EXEC_FORKED)
    }

    /// Neither its fork nor an earlier exec was seen.
    pub(super) fn missed(&self) -> bool {
        self.is(EXEC_MISSED)
    }

    /// What the record says; identities, times and the container are for the caller to add. `more` are the arguments
    /// that came before the record.
    pub(super) fn describe(&self, more: Option<Vec<u8>>) -> ProcessInfo {
        let cwd = String::from_utf8_lossy(self.cwd).into_owned();
        let binary = match self.is(EXEC_ERROR_FILENAME) {
            true => "<enomem>".to_string(),
            false => arguments::absolute(&cwd, &String::from_utf8_lossy(self.filename)),
        };
        let mut flags = self.flags(&cwd);
        let more = more.unwrap_or_default();
        let known = self.args.len() + more.len();
        if known < usize::try_from(self.record.args_total).unwrap_or(usize::MAX) && !self.is(EXEC_ERROR_ARGS)
        {
            flags |= ProcessFlags::TRUNC_ARGS;
        }
        let arguments = if more.is_empty() {
            arguments::join(self.args)
        } else {
            flags |= ProcessFlags::DATA_ARGS;
            arguments::join(&[self.args, &more].concat())
        };
        ProcessInfo {
            pid: self.record.tgid,
            uid: Some(self.record.euid),
            auid: Some(self.record.auid),
            cwd: cwd.into(),
            binary: binary.into(),
            arguments: arguments.into(),
            flags,
            in_init_tree: Some(self.is(EXEC_IN_INIT_TREE)),
            ..ProcessInfo::default()
        }
    }

    fn flags(&self, cwd: &str) -> ProcessFlags {
        let mut flags = ProcessFlags::EXECVE;
        let words = [
            (EXEC_FORKED, ProcessFlags::CLONE),
            (EXEC_IN_INIT_TREE, ProcessFlags::IN_INIT_TREE),
            (EXEC_MISSED, ProcessFlags::MISS),
            (EXEC_ERROR_FILENAME, ProcessFlags::ERROR_FILENAME),
            (EXEC_ERROR_ARGS, ProcessFlags::ERROR_ARGS),
            (EXEC_ARGS_LOST, ProcessFlags::TRUNC_ARGS),
            (EXEC_NO_CWD, ProcessFlags::NO_CWD),
            (EXEC_CWD_INCOMPLETE, ProcessFlags::ERROR_PATH_RESOLUTION_CWD),
        ];
        for (flag, word) in words {
            if self.is(flag) {
                flags |= word;
            }
        }
        if cwd == "/" {
            flags |= ProcessFlags::ROOT_CWD;
        }
        flags
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bpf_programs::layout::{RecordHeader, RecordKind, bytes_of};

    /// A record as the kernel side writes it.
    pub(in crate::process) fn record(change: impl FnOnce(&mut ExecRecord), texts: [&[u8]; 4]) -> Vec<u8> {
        let header = RecordHeader { kind: RecordKind::Exec as u16, flags: 0, len: 0, time: 1_000 };
        let zero = take::<ExecRecord>(&[0; size_of::<ExecRecord>()]).unwrap().0;
        let mut record = ExecRecord {
            header,
            tgid: 42,
            auid: u32::MAX,
            filename_len: texts[0].len() as u16,
            cwd_len: texts[1].len() as u16,
            cgroup_len: texts[2].len() as u16,
            args_len: texts[3].len() as u32,
            args_total: texts[3].len() as u32,
            ..zero
        };
        change(&mut record);
        let mut bytes = bytes_of(&record).to_vec();
        texts.iter().for_each(|text| bytes.extend_from_slice(text));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn texts_are_found() {
        let bytes = record(|record| record.euid = 7, [b"./cat", b"/bin", b"", b"cat\0a b\0"]);
        let info = Exec::parse(&bytes).unwrap().describe(None);
        assert_eq!((info.binary.as_str(), info.cwd.as_str()), ("/bin/cat", "/bin"));
        assert_eq!((info.arguments.as_str(), info.uid), (" \"a b\"", Some(7)));
        assert_eq!(info.flags, ProcessFlags::EXECVE);
    }

    #[test]
    fn long_arguments_are_put_together() {
        let bytes = record(|record| record.args_total = 8, [b"/x", b"/", b"", b"x\0ab"]);
        let exec = Exec::parse(&bytes).unwrap();
        let whole = exec.describe(Some(b"cd\0\0".to_vec()));
        assert_eq!(whole.arguments, "abcd ");
        assert_eq!(whole.flags, ProcessFlags::EXECVE | ProcessFlags::ROOT_CWD | ProcessFlags::DATA_ARGS);
        let cut = exec.describe(None);
        assert_eq!(cut.arguments, "ab");
        assert!(cut.flags.contains(ProcessFlags::TRUNC_ARGS));
    }

    #[test]
    fn a_record_cut_anywhere_is_refused() {
        let bytes = record(|_| (), [b"/bin/cat", b"/", b"x", b"cat\0a\0b"]);
        for len in 0..bytes.len() - 7 {
            assert!(Exec::parse(&bytes[..len]).is_none(), "{len}");
        }
        let lying = record(|record| record.args_len = u32::MAX, [b"", b"", b"", b""]);
        assert!(Exec::parse(&lying).is_none());
    }

    #[test]
    fn an_unreadable_name_says_so() {
        let bytes =
            record(|record| record.header.flags = EXEC_ERROR_FILENAME | EXEC_NO_CWD, [b"", b"", b"", b""]);
        let info = Exec::parse(&bytes).unwrap().describe(None);
        assert_eq!(info.binary, "<enomem>");
        assert_eq!(info.flags.words().collect::<Vec<_>>(), ["execve", "errorFilename", "nocwd"]);
    }
}

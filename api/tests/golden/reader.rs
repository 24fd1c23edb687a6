//! In: one recorded line, parsed. Out: the event that it shows. For tests: it panics at whatever it does not know,
//! so that no field of a recorded line is lost unseen.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use api::artefact::EventKind;
use api::event::{
    Action, Argument, Body, Capabilities, Credentials, EnvVar, Event, ExecId, FilePath, Hook, HookEvent,
    Namespace, Namespaces, Packet, Process, ProcessExec, ProcessExit, ProcessFlags, ProcessInfo, Socket,
    SocketAddress, Subject, SyscallAbi, Timestamp, Value,
};
use api::names;
use serde_json::Value as Json;

/// An object that must be read completely.
struct Fields<'a> {
    json: &'a Json,
    left: BTreeSet<&'a str>,
}

impl<'a> Fields<'a> {
    fn of(json: &'a Json) -> Self {
        Fields { json, left: json.as_object().unwrap().keys().map(String::as_str).collect() }
    }

    fn take(&mut self, key: &str) -> Option<&'a Json> {
        self.left.remove(key);
        self.json.get(key)
    }

    fn text(&mut self, key: &str) -> String {
        self.take(key).map(|json| json.as_str().unwrap().to_owned()).unwrap_or_default()
    }

    fn number(&mut self, key: &str) -> Option<u32> {
        self.take(key).map(|json| json.as_u64().unwrap().try_into().unwrap())
    }

    fn port(&mut self, key: &str) -> u16 {
        self.number(key).unwrap_or(0).try_into().unwrap()
    }

    fn long(&mut self, key: &str) -> u64 {
        self.take(key).map(|json| json.as_str().unwrap().parse().unwrap()).unwrap_or(0)
    }

    fn name(&mut self, key: &str, table: &names::NameTable) -> u16 {
        match self.text(key).as_str() {
            "" => 0,
            name => table.number(name).unwrap().try_into().unwrap(),
        }
    }

    fn addr(&mut self, key: &str) -> Option<IpAddr> {
        self.text(key).parse().ok()
    }

    fn time(&mut self, key: &str) -> Option<Timestamp> {
        self.take(key).map(|json| timestamp(json.as_str().unwrap()))
    }

    fn list(&mut self, key: &str) -> Vec<&'a Json> {
        self.take(key).map(|json| json.as_array().unwrap().iter().collect()).unwrap_or_default()
    }

    fn done(self) {
        assert!(self.left.is_empty(), "not read: {:?}", self.left);
    }
}

pub fn event(json: &Json) -> Event {
    let mut line = Fields::of(json);
    let body = if let Some(json) = line.take("process_exec") {
        exec(json)
    } else if let Some(json) = line.take("process_exit") {
        exit(json)
    } else if let Some(json) = line.take("process_kprobe") {
        Body::Kprobe(hook_event(json, EventKind::Kprobe))
    } else if let Some(json) = line.take("process_tracepoint") {
        Body::Tracepoint(hook_event(json, EventKind::Tracepoint))
    } else {
        Body::Lsm(hook_event(line.take("process_lsm").unwrap(), EventKind::Lsm))
    };
    let event = Event { body, node_name: line.text("node_name").into(), time: line.time("time").unwrap() };
    line.done();
    event
}

fn exec(json: &Json) -> Body {
    let mut fields = Fields::of(json);
    let exec = ProcessExec {
        process: subject(&mut fields),
        parent: parent(&mut fields),
        ancestors: ancestors(&mut fields),
    };
    fields.done();
    Body::Exec(exec)
}

fn exit(json: &Json) -> Body {
    let mut fields = Fields::of(json);
    let exit = ProcessExit {
        process: subject(&mut fields),
        parent: parent(&mut fields),
        ancestors: ancestors(&mut fields),
        signal: names::SIGNALS.number(&fields.text("signal")).unwrap_or(0),
        status: fields.number("status").unwrap_or(0),
        time: fields.time("time").unwrap(),
    };
    fields.done();
    Body::Exit(exit)
}

fn hook_event(json: &Json, kind: EventKind) -> HookEvent {
    let mut fields = Fields::of(json);
    let hook = Hook {
        event: kind,
        policy_namespace: String::new(),
        policy_name: fields.text("policy_name"),
        subsystem: fields.text("subsys"),
        name: fields.text(if kind == EventKind::Tracepoint { "event" } else { "function_name" }),
        message: fields.text("message"),
        tags: fields.list("tags").into_iter().map(|tag| tag.as_str().unwrap().to_owned()).collect(),
        args: vec![],
        has_return: false,
    };
    let event = HookEvent {
        process: subject(&mut fields),
        parent: parent(&mut fields),
        ancestors: ancestors(&mut fields),
        hook: Arc::new(hook),
        args: fields.list("args").into_iter().map(argument).collect(),
        ret: fields.take("return").map(argument),
        action: action(&fields.text("action")),
        return_action: action(&fields.text("return_action")),
    };
    fields.done();
    event
}

fn action(name: &str) -> Action {
    match name {
        "" => Action::Unknown,
        name => Action::ALL.into_iter().find(|action| action.name() == name).unwrap(),
    }
}

fn subject(fields: &mut Fields) -> Subject {
    let (process, tid, refcnt) = process(fields.take("process").unwrap());
    Subject { process: Arc::new(process), tid, refcnt }
}

fn parent(fields: &mut Fields) -> Option<Arc<Process>> {
    fields.take("parent").map(relative)
}

fn ancestors(fields: &mut Fields) -> Vec<Arc<Process>> {
    fields.list("ancestors").into_iter().map(relative).collect()
}

/// A process that is not the event's own.
fn relative(json: &Json) -> Arc<Process> {
    let (process, tid, refcnt) = process(json);
    assert_eq!((tid, refcnt), (process.pid, 0));
    Arc::new(process)
}

fn process(json: &Json) -> (Process, u32, u32) {
    let mut fields = Fields::of(json);
    let mut flags = ProcessFlags::default();
    for word in fields.text("flags").split_whitespace() {
        flags |= ProcessFlags::from_word(word).unwrap();
    }
    let info = ProcessInfo {
        exec_id: ExecId(fields.text("exec_id").into()),
        pid: fields.number("pid").unwrap(),
        uid: fields.number("uid"),
        cwd: fields.text("cwd").into(),
        binary: fields.text("binary").into(),
        arguments: fields.text("arguments").into(),
        flags,
        start_time: fields.time("start_time"),
        auid: fields.number("auid"),
        pod: None,
        docker: fields.text("docker"),
        parent_exec_id: ExecId(fields.text("parent_exec_id").into()),
        cap: fields.take("cap").map(capabilities),
        ns: fields.take("ns").map(|json| Box::new(namespaces(json))),
        credentials: fields.take("process_credentials").map(|json| Box::new(credentials(json))),
        user: fields.take("user").map(|json| Fields::of(json).text("name")).unwrap_or_default(),
        in_init_tree: fields.take("in_init_tree").map(|json| json.as_bool().unwrap()),
        environment: fields.list("environment_variables").into_iter().map(variable).collect(),
    };
    let (tid, refcnt) = (fields.number("tid").unwrap(), fields.number("refcnt").unwrap_or(0));
    fields.done();
    (Process::new(info), tid, refcnt)
}

fn variable(json: &Json) -> EnvVar {
    let mut fields = Fields::of(json);
    let variable = EnvVar { key: fields.text("Key"), value: fields.text("Value") };
    fields.done();
    variable
}

fn capabilities(json: &Json) -> Capabilities {
    let mut fields = Fields::of(json);
    let mut set = |key| {
        let names = fields.list(key).into_iter();
        names.fold(0, |set, name| set | 1 << names::CAPABILITIES.number(name.as_str().unwrap()).unwrap())
    };
    let caps = Capabilities {
        permitted: set("permitted"),
        effective: set("effective"),
        inheritable: set("inheritable"),
    };
    fields.done();
    caps
}

fn namespaces(json: &Json) -> Namespaces {
    let mut fields = Fields::of(json);
    let mut one = |key| {
        let mut fields = Fields::of(fields.take(key).unwrap());
        Namespace {
            inum: fields.number("inum").unwrap(),
            is_host: fields.take("is_host").is_some_and(|json| json.as_bool().unwrap()),
        }
    };
    let all = Namespaces {
        uts: one("uts"),
        ipc: one("ipc"),
        mnt: one("mnt"),
        pid: one("pid"),
        pid_for_children: one("pid_for_children"),
        net: one("net"),
        time: one("time"),
        time_for_children: one("time_for_children"),
        cgroup: one("cgroup"),
        user: one("user"),
    };
    fields.done();
    all
}

fn credentials(json: &Json) -> Credentials {
    let mut fields = Fields::of(json);
    let mut id = |key| fields.number(key).unwrap();
    let credentials = Credentials {
        uid: id("uid"),
        gid: id("gid"),
        euid: id("euid"),
        egid: id("egid"),
        suid: id("suid"),
        sgid: id("sgid"),
        fsuid: id("fsuid"),
        fsgid: id("fsgid"),
        ..Credentials::default()
    };
    fields.done();
    credentials
}

fn argument(json: &Json) -> Argument {
    let mut fields = Fields::of(json);
    let label = Some(fields.text("label")).filter(|label| !label.is_empty()).map(Arc::from);
    let key = *fields.left.first().unwrap();
    let json = fields.take(key).unwrap();
    fields.done();
    let value = match key {
        "int_arg" => Value::Int(json.as_i64().unwrap().try_into().unwrap()),
        "size_arg" => Value::Size(json.as_str().unwrap().parse().unwrap()),
        "file_arg" => Value::File(file(json)),
        "linux_binprm_arg" => Value::LinuxBinprm(file(json)),
        "sock_arg" => Value::Sock(Box::new(socket(json))),
        "skb_arg" => Value::Skb(Box::new(packet(json))),
        "sockaddr_arg" => {
            let mut fields = Fields::of(json);
            Value::Sockaddr(SocketAddress {
                family: fields.name("family", &names::ADDRESS_FAMILIES),
                addr: fields.addr("addr"),
                port: fields.port("port"),
            })
        }
        "syscall_id" => {
            let mut fields = Fields::of(json);
            assert_eq!(fields.text("abi"), "x64");
            Value::SyscallId { id: fields.number("id").unwrap(), abi: SyscallAbi::X64 }
        }
        other => panic!("no reader for {other}"),
    };
    Argument { value, label }
}

fn file(json: &Json) -> FilePath {
    let mut fields = Fields::of(json);
    let path = fields.text("path");
    let permission = fields.text("permission");
    fields.done();
    let bits = permission[1..].chars().fold(0, |mode, c| mode << 1 | u16::from(c != '-'));
    assert!(permission.starts_with('-'));
    FilePath { path, unresolved: false, mode: 0o100000 | bits }
}

fn socket(json: &Json) -> Socket {
    let mut fields = Fields::of(json);
    let socket = Socket {
        family: fields.name("family", &names::ADDRESS_FAMILIES),
        kind: fields.name("type", &names::SOCKET_TYPES),
        protocol: fields.name("protocol", &names::PROTOCOLS),
        state: fields.name("state", &names::TCP_STATES),
        mark: fields.number("mark").unwrap_or(0),
        priority: fields.number("priority").unwrap_or(0),
        saddr: fields.addr("saddr"),
        daddr: fields.addr("daddr"),
        sport: fields.port("sport"),
        dport: fields.port("dport"),
        cookie: fields.long("cookie"),
    };
    fields.done();
    socket
}

fn packet(json: &Json) -> Packet {
    let mut fields = Fields::of(json);
    let packet = Packet {
        hash: fields.number("hash").unwrap_or(0),
        len: fields.number("len").unwrap_or(0),
        priority: fields.number("priority").unwrap_or(0),
        mark: fields.number("mark").unwrap_or(0),
        saddr: fields.addr("saddr"),
        daddr: fields.addr("daddr"),
        sport: fields.port("sport"),
        dport: fields.port("dport"),
        protocol: fields.port("proto"),
        family: fields.name("family", &names::ADDRESS_FAMILIES),
        sec_path_len: fields.number("sec_path_len").unwrap_or(0),
        sec_path_olen: fields.number("sec_path_olen").unwrap_or(0),
    };
    fields.text("protocol");
    fields.done();
    packet
}

/// Reads RFC 3339 with nine fractional digits, by searching the day: slow, and independent of the writer.
fn timestamp(text: &str) -> Timestamp {
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let lengths = |year| [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = (1970..year).map(|year| lengths(year).iter().sum::<u64>()).sum::<u64>()
        + lengths(year).iter().take(month as usize - 1).sum::<u64>()
        + day
        - 1;
    let seconds = days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    Timestamp(seconds * 1_000_000_000 + number(20..29))
}

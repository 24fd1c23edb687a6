//! In: nothing. Out: the values that policies name and calls have, so that they often meet.

use std::net::IpAddr;

use crate::world::World;
use crate::world::files::Place;

/// Files of every case: path from the root of all, and mode.
pub fn files() -> Vec<(String, u16)> {
    let plain = [
        ("/etc/passwd", 0o100_644),
        ("/etc/ssh/sshd_config", 0o100_600),
        ("/etc", 0o040_755),
        ("/etcfoo", 0o100_644),
        ("/", 0o040_755),
        ("/proc/self/status", 0o100_444),
        ("/proc", 0o040_555),
        ("/mnt/again/x", 0o100_644),
        ("/srv/data/x", 0o100_644),
        ("/run/docker.sock", 0o140_755),
        ("/dev/null", 0o020_666),
        ("/container/etc/passwd", 0o100_644),
        ("/tmp/gone", 0o100_600),
    ];
    let mut all: Vec<_> = plain.iter().map(|(path, mode)| ((*path).to_owned(), *mode)).collect();
    all.push((format!("/deep{}", "/dir".repeat(40)), 0o100_644));
    all.push((format!("/long/{}/{}", "n".repeat(255), "m".repeat(200)), 0o100_644));
    // More components than are followed, the last that are, and more bytes than there is room for.
    all.push((format!("/etc{}/etc/passwd", "/d".repeat(128)), 0o100_644));
    all.push((format!("/etc{}/passwd", "/d".repeat(125)), 0o100_644));
    all.push((format!("/huge{}/etc/passwd", format!("/{}", "l".repeat(250)).repeat(17)), 0o100_644));
    all
}

/// Plants the files; the same places in every world.
pub fn plant(world: &mut World<'_>) -> (Vec<Place>, [Place; 2]) {
    world.mount("/proc");
    world.mount("/run");
    world.bind("/srv/data", "/mnt/again");
    let places: Vec<Place> = files().iter().map(|(path, mode)| world.open(path, *mode)).collect();
    let gone = files().iter().position(|(path, _)| path == "/tmp/gone").expect("in the list");
    world.unlink(places[gone]);
    let roots = [world.open("/", 0o040_755), world.open("/container", 0o040_755)];
    (places, roots)
}

/// Texts that strings and buffers have.
pub fn texts() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> =
        ["abc", "", "a", "ab", "abcd", "/etc/passwd", "/etc/", "etc", "passwd", "\u{fc}ber"]
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
    texts.extend([7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256, 257].map(|n| vec![b'x'; n]));
    texts.extend([4000, 4095, 4096, 5000].map(|n| vec![b'y'; n]));
    texts
}

/// Integers at the edges of their types.
pub const INTS: [u64; 26] = [
    0,
    1,
    2,
    3,
    5,
    21,
    100,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
    u64::MAX - 41,
    0xffff_ffff_8000_0000,
    0x8000_0000_0000_0001,
];

/// Addresses.
pub fn addresses() -> Vec<IpAddr> {
    let texts = [
        "127.0.0.1",
        "10.1.2.3",
        "10.1.2.4",
        "192.168.0.255",
        "0.0.0.0",
        "255.255.255.255",
        "::1",
        "fe80::1234:5678",
        "2001:db8::1",
        "2001:db8:0:1::",
        "::ffff:10.1.2.3",
        "::",
    ];
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

pub const PORTS: [u16; 9] = [80, 443, 0, 1, 1023, 1024, 8080, 32768, 65535];
pub const PIDS: [u32; 5] = [100, 1, 7, 4242, 4_194_304];
pub const BINARIES: [&str; 8] = [
    "/usr/bin/cat",
    "/usr/bin/curl",
    "/usr/sbin/sshd",
    "/bin/sh",
    "/usr/bin/catalogue",
    "/opt/a/very/long/path/that/has/more/than/one/hundred/and/twenty/seven/characters/so/that/only/its/end/is/looked/at/by/a/postfix/test/binary",
    "/x",
    "/usr/bin/cat (deleted)",
];

//! Input: a number and a kernel.
//! Output: a node of the cluster: its addresses, its files, its VM, and a way to run commands in it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::User;
use e2e::parts::Layout;

use super::images;
use super::network::HOST;
use super::process::Process;
use super::state::State;
use crate::vm::{KERNEL_ARGS, Kernel, Modules, Rootfs, quote, run_quietly};
use crate::workspace;

const QEMU: &str = "qemu-system-x86_64";

/// kubelet, containerd, kube-proxy and some pods take 700 MB.
const MEMORY_MIB: u32 = 2048;

/// As Debian orders them, with BPF at the end also on 5.10, where it is not in the list.
const LSM: &str = "lsm=landlock,lockdown,yama,integrity,apparmor,bpf";

/// Private key that opens every node, and what is its public half in the nodes.
const KEY: &str = "ssh-key";
const AUTHORIZED: &str = "authorized_keys";

/// A node: `node-1` and so on.
pub struct Node {
    number: u8,
    kernel: Kernel,
}

impl Node {
    /// One for each kernel.
    pub fn all(kernels: &[Kernel]) -> Vec<Node> {
        (1..).zip(kernels).map(|(number, kernel)| Node { number, kernel: *kernel }).collect()
    }

    pub fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// On the bridge.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, 0, 10 + self.number)
    }

    /// Addresses of its pods.
    pub fn pods(&self) -> String {
        format!("10.91.{}.0/24", self.number)
    }

    /// Its end of the cable.
    pub fn tap(&self) -> String {
        format!("node{}", self.number)
    }

    /// Starts its VM; logs go to `STATE/node-N`.
    pub fn start(&self, state: &State, layout: &Layout, root: &Path) -> Result<()> {
        let name = self.name();
        let folder = state.path(&name);
        let modules = Modules::of(self.kernel)?;
        let files = folder.join("node");
        fs::create_dir_all(&files).with_context(|| format!("creating {}", files.display()))?;
        self.write_files(state, layout, &files)?;
        let initramfs = folder.join("initramfs");
        let scripts = workspace::root().join("e2e/cluster/node");
        let mut rootfs = Rootfs::with_busybox()?;
        rootfs.add(&scripts.join("initramfs.sh"), "/init")?;
        rootfs.add(&scripts, "/node")?;
        rootfs.add(&files, "/node")?;
        rootfs.add(&modules.drivers(), "/modules")?;
        let images = folder.join("images.tar");
        fs::write(&images, images::base()?).with_context(|| format!("writing {}", images.display()))?;
        rootfs.add(&images, "/node/images.tar")?;
        rootfs.write(&initramfs)?;
        let mut qemu = self.machine(state, &folder, root, &modules)?;
        qemu.arg("-initrd").arg(&initramfs);
        Process::start(&name, &qemu, &folder.join("qemu.log"), &state.processes())
    }

    /// What differs between nodes: names, addresses, credentials.
    fn write_files(&self, state: &State, layout: &Layout, files: &Path) -> Result<()> {
        let put = |name: &str, text: &[u8]| {
            fs::write(files.join(name), text)
                .with_context(|| format!("writing {name} in {}", files.display()))
        };
        let env = format!(
            "NAME={}\nADDRESS={}\nGATEWAY={HOST}\nPODS={}\n",
            self.name(),
            self.address(),
            self.pods()
        );
        put("env", env.as_bytes())?;
        put("ca.crt", &fs::read(layout.ca()).context("reading the API server's certificate")?)?;
        for (file, user) in [("kubelet", User::Node(self.number)), ("proxy", User::Proxy)] {
            let config = e2e::kubeconfig(&layout.url(), Path::new("/etc/node/ca.crt"), layout.token(user)?);
            put(&format!("{file}.kubeconfig"), config.as_bytes())?;
        }
        self.certify(files)?;
        put(AUTHORIZED, &fs::read(state.path(AUTHORIZED)).context("reading the key for nodes")?)
    }

    /// A certificate for the kubelet, signed by itself: it would make one, with a key that takes an emulated CPU 10 s.
    fn certify(&self, files: &Path) -> Result<()> {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        openssl.args(["-days", "3650", "-subj", &format!("/CN={}", self.name())]);
        openssl.args(["-addext", &format!("subjectAltName=DNS:{},IP:{}", self.name(), self.address())]);
        openssl.arg("-keyout").arg(files.join("kubelet.key")).arg("-out").arg(files.join("kubelet.crt"));
        run_quietly(&mut openssl).context("making a certificate for the kubelet")
    }

    /// QEMU without initramfs: software emulation with one CPU, a shared root disk, and two serial ports as logs.
    fn machine(&self, state: &State, folder: &Path, root: &Path, modules: &Modules) -> Result<Command> {
        let number = self.number;
        let mut qemu = state.network().command(QEMU);
        qemu.args([
            "-nodefaults",
            "-display",
            "none",
            "-vga",
            "none",
            "-no-reboot",
            "-M",
            "pc",
            "-cpu",
            "max",
        ]);
        qemu.args(["-accel", "tcg,thread=single", "-smp", "1", "-m", &MEMORY_MIB.to_string()]);
        qemu.arg("-kernel").arg(self.kernel.image()?);
        qemu.args(["-append", &format!("{KERNEL_ARGS} loglevel=5 {LSM}")]);
        for (index, log) in ["console.log", "services.log"].iter().enumerate() {
            let path = escaped(&folder.join(log));
            qemu.args(["-chardev", &format!("file,id=port{index},path={path}")]);
            qemu.args(["-device", &format!("isa-serial,chardev=port{index},index={index}")]);
        }
        let drive = |id, path: &Path, more| {
            format!("if=none,id={id},format=raw,cache=unsafe,file={},{more}", escaped(path))
        };
        qemu.args(["-drive", &drive("root", root, "snapshot=on")]);
        qemu.args(["-drive", &drive("modules", &modules.disk(), "readonly=on")]);
        qemu.args(["-device", "virtio-blk-pci,drive=root", "-device", "virtio-blk-pci,drive=modules"]);
        let tap = self.tap();
        qemu.args(["-netdev", &format!("tap,id=net,ifname={tap},script=no,downscript=no")]);
        qemu.args(["-device", &format!("virtio-net-pci,netdev=net,mac=52:54:00:90:00:{number:02x}")]);
        // The snapshot's file, without a name, is made there.
        qemu.env("TMPDIR", folder);
        Ok(qemu)
    }

    /// A command in the VM, as root: one word is a shell line, several are taken as they are, none is a shell.
    pub fn command(&self, state: &State, words: &[String]) -> Command {
        let mut client = state.network().command("dbclient");
        // -y -y: a node's host key is as new as the node.
        client.arg("-i").arg(state.path(KEY)).args(["-y", "-y"]);
        client.arg(format!("root@{}", self.address()));
        match words {
            [] => {}
            [line] => {
                client.arg(line);
            }
            words => {
                client.arg(words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "));
            }
        }
        client
    }
}

/// A new key for the nodes of a cluster.
pub fn make_key(state: &State) -> Result<()> {
    let key = state.path(KEY);
    if key.exists() {
        fs::remove_file(&key).with_context(|| format!("removing {}", key.display()))?;
    }
    run_quietly(Command::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(&key))?;
    let shown =
        Command::new("dropbearkey").arg("-y").arg("-f").arg(&key).output().context("reading the key")?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let Some(public) = shown.lines().find(|line| line.starts_with("ssh-")) else {
        bail!("dropbearkey -y shows no public key: {shown}");
    };
    fs::write(state.path(AUTHORIZED), format!("{public}\n")).context("writing the key for nodes")
}

/// For an option of QEMU, which separates with commas.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::Node;
    use crate::vm::Kernel;

    #[test]
    fn nodes_do_not_meet() {
        let nodes = Node::all(&[Kernel::V6_1, Kernel::V6_12]);
        let told: Vec<_> = nodes.iter().map(|node| (node.name(), node.address(), node.pods())).collect();
        assert_eq!(told[0], ("node-1".into(), [10, 90, 0, 11].into(), "10.91.1.0/24".into()));
        assert_eq!(told[1], ("node-2".into(), [10, 90, 0, 12].into(), "10.91.2.0/24".into()));
    }
}

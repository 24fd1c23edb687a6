//! In: a helper's number and its arguments in registers. Out: its result, with the kernel's semantics.

use api::artefact::Flavour;

use super::execute::{Cpu, MAP_HANDLES};
use super::map::{Map, MapKind};
use super::memory::Kind;

const EFAULT: i64 = -14;
const ENOSPC: i64 = -28;
/// Where reserved records live.
const RECORDS_START: u64 = 0xffff_d000_0000_0000;

impl Cpu<'_> {
    pub(super) fn helper(&mut self, number: u32) -> Result<i64, String> {
        self.available(number)?;
        let around = &self.vm.around;
        Ok(match number {
            1..=3 => return self.map_element(number),
            5 | 125 => around.time as i64,
            118 => (around.time / 4_000_000) as i64,
            8 => i64::from(around.cpu),
            14 => (i64::from(around.tgid) << 32) | i64::from(around.tid),
            15 => (i64::from(around.gid) << 32) | i64::from(around.uid),
            35 | 158 => around.task as i64,
            58 => {
                let value = self.read(2)? as i64;
                self.vm.deeds.overrides.push(value);
                0
            }
            109 => self.send_signal()?,
            112 | 113 => return self.probe_read(number == 112),
            114 | 115 => return self.probe_read_str(number == 114),
            130 => return self.ring_output(),
            131 => return self.ring_reserve(),
            132 | 133 => return self.ring_finish(number == 132),
            147 => return self.d_path(),
            184 => {
                let (to, value) = (self.read(2)?, self.vm.around.ret);
                self.put(to, &value.to_le_bytes())?;
                0
            }
            other => return Err(format!("calls helper {other}, which this machine does not have")),
        })
    }

    /// The kernel has these helpers for some program types only.
    fn available(&self, number: u32) -> Result<(), String> {
        let flavour = self.vm.around.flavour;
        let fine = match number {
            58 => flavour == Flavour::Kprobe,
            147 => matches!(flavour, Flavour::Fentry | Flavour::Fexit | Flavour::FmodRet | Flavour::Lsm),
            184 => matches!(flavour, Flavour::Fexit | Flavour::FmodRet),
            _ => true,
        };
        fine.then_some(()).ok_or_else(|| format!("calls helper {number} in a {flavour:?} program"))
    }

    /// Bytes that a helper reads.
    fn bytes(&mut self, addr: u64, len: usize) -> Result<Vec<u8>, String> {
        self.touch(addr, len)?;
        match self.vm.memory.locate(addr, len) {
            Some((Kind::Kernel | Kind::User, ..)) => {
                Err(format!("gives a helper a foreign pointer {addr:#x}"))
            }
            _ => self.vm.memory.read(addr, len).map(<[u8]>::to_vec),
        }
    }

    /// Bytes that a helper writes.
    fn put(&mut self, addr: u64, bytes: &[u8]) -> Result<(), String> {
        self.touch(addr, bytes.len())?;
        self.vm.memory.write(addr, bytes)
    }

    fn map_number(&self, register: u8) -> Result<usize, String> {
        let handle = self.read(register)?.wrapping_sub(MAP_HANDLES);
        let number = (handle / 256) as usize;
        if handle % 256 != 0 || number >= self.vm.maps.len() {
            return Err(format!("r{register} is not a map"));
        }
        Ok(number)
    }

    fn map_element(&mut self, number: u32) -> Result<i64, String> {
        let index = self.map_number(1)?;
        let Map { key_size, value_size, kind, ref name, .. } = self.vm.maps[index];
        if kind == MapKind::RingBuf {
            return Err(format!("uses the ring buffer {name} as a table"));
        }
        let key = self.bytes(self.read(2)?, key_size)?;
        let value = if number == 2 { self.bytes(self.read(3)?, value_size)? } else { Vec::new() };
        let flags = if number == 2 { self.read(4)? } else { 0 };
        let cpu = self.vm.around.cpu as usize;
        let (map, memory) = (&mut self.vm.maps[index], &mut self.vm.memory);
        Ok(match number {
            1 => map.lookup(memory, &key, cpu) as i64,
            2 => map.update(memory, &key, &value, flags),
            _ => map.delete(memory, &key),
        })
    }

    fn send_signal(&mut self) -> Result<i64, String> {
        let signal = self.read(1)? as u32;
        let result = self.vm.around.signal_result;
        if result == 0 {
            self.vm.deeds.signals.push(signal);
        }
        Ok(result)
    }

    fn probe_read(&mut self, user: bool) -> Result<i64, String> {
        let (to, len, from) = (self.read(1)?, self.read(2)? as u32 as usize, self.read(3)?);
        let memory = &self.vm.memory;
        let found = if user { memory.probe_user(from, len) } else { memory.probe_kernel(from, len) };
        let (bytes, result) = match found {
            Some(bytes) => (bytes.to_vec(), 0),
            None if len == 0 => (Vec::new(), 0),
            None => (vec![0; len], EFAULT),
        };
        if len > 0 {
            self.put(to, &bytes)?;
        }
        Ok(result)
    }

    fn probe_read_str(&mut self, user: bool) -> Result<i64, String> {
        let (to, len, from) = (self.read(1)?, self.read(2)? as u32 as usize, self.read(3)?);
        if len == 0 {
            return Ok(0);
        }
        let tail = self.vm.memory.tail(from, user).unwrap_or_default();
        let mut text: Vec<u8> = tail.iter().copied().take(len).take_while(|byte| *byte != 0).collect();
        let ended = text.len() == len || text.len() < tail.len();
        if !ended || tail.is_empty() {
            self.put(to, &vec![0; len])?;
            return Ok(EFAULT);
        }
        text.truncate(len - 1);
        text.push(0);
        // The verifier believes that the helper may write all of it.
        self.vm
            .memory
            .locate(to, len)
            .ok_or_else(|| format!("lets a helper write {len} bytes at {to:#x}"))?;
        let mark = matches!(self.vm.memory.locate(to, len), Some((Kind::Stack, ..)));
        if mark {
            self.put(to, &vec![0xa5; len])?;
        }
        self.put(to, &text)?;
        Ok(text.len() as i64)
    }

    fn ring_output(&mut self) -> Result<i64, String> {
        self.ring_map()?;
        let (from, len) = (self.read(2)?, self.read(3)? as usize);
        let record = self.bytes(from, len)?;
        if !self.take_ring_space(len) {
            return Ok(-11);
        }
        self.vm.deeds.records.push(record);
        Ok(0)
    }

    fn ring_reserve(&mut self) -> Result<i64, String> {
        self.ring_map()?;
        let len = self.read(2)? as usize;
        if !self.take_ring_space(len) {
            return Ok(0);
        }
        let at = RECORDS_START + 0x10_0000 * self.reservations;
        self.reservations += 1;
        // Old records shine through.
        self.vm.memory.add(at, Kind::Ring, vec![0x5a; len]);
        self.reserved.push(at);
        Ok(at as i64)
    }

    fn ring_finish(&mut self, submit: bool) -> Result<i64, String> {
        let at = self.read(1)?;
        let index = self.reserved.iter().position(|open| *open == at).ok_or("finishes no reserved record")?;
        self.reserved.remove(index);
        let unwritten = self.vm.memory.unwritten(at);
        let region = self.vm.memory.remove(at).ok_or("finishes no reserved record")?;
        if submit {
            if let Some(byte) = unwritten {
                return Err(format!("submits a record whose byte {byte} nobody wrote"));
            }
            self.vm.deeds.records.push(region.bytes);
        } else {
            self.vm.around.ring_space += region.bytes.len() + 8;
        }
        Ok(0)
    }

    fn ring_map(&self) -> Result<(), String> {
        let index = self.map_number(1)?;
        (self.vm.maps[index].kind == MapKind::RingBuf)
            .then_some(())
            .ok_or("r1 is not a ring buffer".to_owned())
    }

    fn take_ring_space(&mut self, len: usize) -> bool {
        let whole = len.next_multiple_of(8) + 8;
        match self.vm.around.ring_space.checked_sub(whole) {
            Some(left) => {
                self.vm.around.ring_space = left;
                true
            }
            None => false,
        }
    }

    fn d_path(&mut self) -> Result<i64, String> {
        let (path, to, len) = (self.read(1)?, self.read(2)?, self.read(3)? as u32 as usize);
        let mut text = self.vm.around.paths.get(&path).ok_or("asks for a path that is none")?.clone();
        text.push(0);
        if text.len() > len {
            return Ok(ENOSPC);
        }
        self.put(to, &text)?;
        Ok(text.len() as i64)
    }
}

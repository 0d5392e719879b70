//! The orders on the kernel command line: `offshoot.do=STEP,STEP,...`, where a step is
//! `WORD[:VALUE][:KEY=VALUE]...`. README.md documents each word.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::area::{Area, Blocks};
use crate::pattern::{BASE_SEED, BLOCK, SECTOR};

/// One step: what to do, and for those that use a disk, how and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The word that ordered it.
    pub word: String,
    /// What to do.
    pub order: Order,
    /// How a disk is driven.
    pub io: Io,
    /// Which part of the disk.
    pub area: Area,
}

impl Step {
    /// What the parts do not know of each other.
    fn check(&self) -> Result<(), String> {
        match &self.order {
            Order::Transfer(Transfer::Verify { .. } | Transfer::VerifyZero) => {}
            Order::Transfer(_) => {
                if self.area.length.is_some_and(|length| !length.is_multiple_of(SECTOR as u64)) {
                    return Err("only what is read may end within a sector".into());
                }
            }
            Order::Stamp(_) | Order::VerifyStamps { .. } => {
                if self.io.size < BLOCK as u64 || self.io.cpus > 1 {
                    return Err("stamps are blocks of 4096 bytes, written by one processor".into());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Says how it was booted.
    Hello,
    /// Lists the virtio devices.
    Devices,
    /// Brings up every processor.
    Cpus,
    /// Does the same to each part of an area.
    Transfer(Transfer),
    /// Prints what GET_ID answers.
    Id,
    /// Checks that the disk says it is read-only and refuses a write.
    VerifyReadOnly,
    /// Writes and flushes sequence-numbered blocks.
    Stamp(Stamps),
    /// Checks what `Stamp` left, `last` being the last number it printed.
    VerifyStamps { stamps: Stamps, last: u64 },
    /// Measures.
    Bench(Bench),
    /// Reads so many bytes of entropy.
    Rng { bytes: usize },
    /// Prints a text.
    Print(String),
    /// Reads a line from the console and prints it.
    Echo,
    /// Touches each page of so much memory.
    Touch { bytes: u64 },
    /// Waits, halted.
    Sleep { milliseconds: u64 },
    /// Halts for good.
    Idle,
    /// Never ends and never halts.
    Spin,
    /// Shuts the processor down.
    Fault,
    /// Executes UD2 at CPL0.
    Ud2,
    /// Executes INT3 at CPL0.
    Int3,
    /// Ends with a status.
    Exit(u8),
    /// Powers off by ACPI.
    Poweroff,
    /// Resets.
    Reboot,
}

/// What is done to each part of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Writes the pattern of `seed`.
    Write { seed: u64 },
    /// Reads and compares with the pattern of `seed`.
    Verify { seed: u64 },
    /// Reads and compares with zeroes.
    VerifyZero,
    /// Writes zeroes, by WRITE_ZEROES.
    Zero { unmap: bool },
    /// Discards.
    Discard,
    /// Flushes the disk, whatever the area.
    Flush,
}

/// How a disk is driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// Which disk, in the order of their addresses.
    pub disk: usize,
    /// Whether to halt until an interrupt instead of polling.
    pub interrupts: bool,
    /// Processors at work.
    pub cpus: usize,
    /// Request queues, shared out to the processors.
    pub queues: usize,
    /// Requests in flight, on each queue.
    pub depth: usize,
    /// Bytes in a request, a multiple of 512.
    pub size: u64,
}

impl Default for Io {
    fn default() -> Io {
        Io { disk: 0, interrupts: false, cpus: 1, queues: 1, depth: 8, size: 128 << 10 }
    }
}

/// Blocks 0 to `blocks` - 1 written in turn; number n goes to block n % `blocks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// How many numbers.
    pub count: u64,
    /// The first number.
    pub from: u64,
    /// How many blocks there are.
    pub blocks: u64,
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bench {
    /// The order of addresses.
    pub random: bool,
    /// Of a hundred requests, how many read.
    pub reads: u64,
    /// How long.
    pub milliseconds: u64,
    /// The name it was given, for the result.
    pub name: &'static str,
}

/// Reads the orders, in order.
///
/// # Errors
/// What is wrong, naming the step.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut io = Io::default();
    let mut steps = Vec::new();
    for step in text.split(',').filter(|step| !step.is_empty()) {
        read_step(step, &mut io, &mut steps).map_err(|error| format!("`{step}`: {error}"))?;
    }
    Ok(steps)
}

/// Adds what `step` orders to `steps`. Without arguments that say otherwise a disk is driven as
/// by `io`, which `use` changes for what follows.
fn read_step(step: &str, io: &mut Io, steps: &mut Vec<Step>) -> Result<(), String> {
    let mut arguments = Arguments::new(step);
    let mut own = io.clone();
    if arguments.word == "bench" && own.size == Io::default().size {
        own.size = 4096;
    }
    arguments.io(&mut own)?;
    if arguments.word == "use" {
        *io = own;
    } else if let Some(parts) = arguments.demo()? {
        parts.iter().try_for_each(|part| read_step(part, &mut own, steps))?;
    } else {
        let word = arguments.word.to_string();
        let step = Step { word, order: arguments.order()?, io: own, area: arguments.area()? };
        step.check()?;
        steps.push(step);
    }
    arguments.all_used()
}

/// What a step's word is followed by, less what was used.
struct Arguments<'a> {
    word: &'a str,
    value: Option<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Arguments<'a> {
    fn new(step: &'a str) -> Arguments<'a> {
        let (word, rest) = step.split_once(':').unwrap_or((step, ""));
        if word == "print" {
            return Arguments { word, value: Some(rest), named: Vec::new() };
        }
        let mut arguments = Arguments { word, value: None, named: Vec::new() };
        for argument in rest.split(':').filter(|argument| !argument.is_empty()) {
            match argument.split_once('=') {
                Some(pair) => arguments.named.push(pair),
                None => arguments.value = Some(argument),
            }
        }
        arguments
    }

    /// The steps that a word for `offshoot demo` stands for: a clone's own blocks are one in 16.
    fn demo(&mut self) -> Result<Option<Vec<String>>, String> {
        let again = match self.word {
            "demo-first" => false,
            "demo-again" => true,
            _ => return Ok(None),
        };
        let seed = self.number()?;
        let verify = [format!("verify:{seed}:every=16"), "verify-base:except=16".to_string()];
        if again {
            return Ok(Some(verify.into()));
        }
        let write =
            ["verify-base".to_string(), format!("write:{seed}:every=16"), "flush".to_string()];
        Ok(Some([&write[..], &verify[..]].concat()))
    }

    fn order(&mut self) -> Result<Order, String> {
        Ok(match self.word {
            "hello" => Order::Hello,
            "devices" => Order::Devices,
            "cpus" => Order::Cpus,
            "id" => Order::Id,
            "verify-readonly" => Order::VerifyReadOnly,
            "stamp" => Order::Stamp(self.stamps()?),
            "verify-stamps" => Order::VerifyStamps { last: self.number()?, stamps: self.stamps()? },
            "bench" => Order::Bench(self.bench()?),
            "rng" => Order::Rng { bytes: small(self.number_or(32)?)? },
            "print" => Order::Print(self.value.take().unwrap_or_default().to_string()),
            "echo" => Order::Echo,
            "touch" => Order::Touch { bytes: self.number()? },
            "sleep" => Order::Sleep { milliseconds: self.milliseconds()? },
            "idle" => Order::Idle,
            "spin" => Order::Spin,
            "fault" => Order::Fault,
            "ud2" => Order::Ud2,
            "int3" => Order::Int3,
            "exit" => Order::Exit(small(self.number_or(0)?)?),
            "poweroff" => Order::Poweroff,
            "reboot" => Order::Reboot,
            _ => Order::Transfer(self.transfer()?),
        })
    }

    fn transfer(&mut self) -> Result<Transfer, String> {
        Ok(match self.word {
            "write" => Transfer::Write { seed: self.number()? },
            "verify" => Transfer::Verify { seed: self.number()? },
            "verify-base" => Transfer::Verify { seed: self.number_or(BASE_SEED)? },
            "verify-zero" => Transfer::VerifyZero,
            "zero" => Transfer::Zero { unmap: self.named_or("unmap", 0)? != 0 },
            "discard" => Transfer::Discard,
            "flush" => Transfer::Flush,
            word => return Err(format!("there is no order `{word}`")),
        })
    }

    fn io(&mut self, io: &mut Io) -> Result<(), String> {
        io.disk = small(self.named_or("disk", io.disk as u64)?)?;
        io.cpus = small(self.named_or("cpus", io.cpus as u64)?)?;
        io.queues = small(self.named_or("queues", io.queues.max(io.cpus) as u64)?)?;
        io.depth = small(self.named_or("depth", io.depth as u64)?)?;
        io.size = self.named_or("size", io.size)?;
        io.interrupts = match self.named("mode") {
            None => io.interrupts,
            Some("poll") => false,
            Some("irq") => true,
            Some(mode) => return Err(format!("mode={mode} is neither poll nor irq")),
        };
        if io.cpus == 0 || io.depth == 0 || io.size == 0 || !io.size.is_multiple_of(512) {
            return Err("cpus, depth and size are at least 1, size a multiple of 512".into());
        }
        if io.queues < io.cpus {
            return Err(format!("{} queues are not one for each of {} cpus", io.queues, io.cpus));
        }
        Ok(())
    }

    fn area(&mut self) -> Result<Area, String> {
        let (start, length) = match self.named("range") {
            None => (0, None),
            Some(range) => {
                let (start, length) =
                    range.split_once('+').ok_or("a range is START+LENGTH or START+")?;
                let length = Some(length).filter(|length| !length.is_empty());
                (number(start)?, length.map(number).transpose()?)
            }
        };
        if !start.is_multiple_of(SECTOR as u64) {
            return Err(format!("{start} is not a multiple of 512"));
        }
        let blocks = match (self.named("every"), self.named("except")) {
            (None, None) => Blocks::All,
            (Some(step), None) => Blocks::Every(number_from(1, step)?),
            (None, Some(step)) => Blocks::Except(number_from(2, step)?),
            _ => return Err("every= and except= exclude each other".into()),
        };
        Ok(Area { start, length, blocks })
    }

    fn stamps(&mut self) -> Result<Stamps, String> {
        let blocks = self.named_or("blocks", 64)?;
        if blocks == 0 {
            return Err("blocks is at least 1".into());
        }
        let count = self.named_or("count", u64::MAX)?.max(1);
        Ok(Stamps { from: self.named_or("from", 1)?, count, blocks })
    }

    fn bench(&mut self) -> Result<Bench, String> {
        let rw = self.named("rw").unwrap_or("randread");
        let mix = self.named_or("mix", 70)?;
        let (name, random, reads) = match rw {
            "read" => ("read", false, 100),
            "write" => ("write", false, 0),
            "rw" => ("rw", false, mix),
            "randread" => ("randread", true, 100),
            "randwrite" => ("randwrite", true, 0),
            "randrw" => ("randrw", true, mix),
            _ => {
                return Err(format!("rw={rw} is not read, write, rw, randread, randwrite, randrw"));
            }
        };
        let seconds = self.named("seconds").unwrap_or("2");
        Ok(Bench { random, reads, milliseconds: milliseconds(seconds)?, name })
    }

    fn milliseconds(&mut self) -> Result<u64, String> {
        milliseconds(self.value.take().ok_or("how many seconds?")?)
    }

    fn number(&mut self) -> Result<u64, String> {
        number(self.value.take().ok_or("its number is missing")?)
    }

    fn number_or(&mut self, default: u64) -> Result<u64, String> {
        self.value.take().map_or(Ok(default), number)
    }

    fn named(&mut self, key: &str) -> Option<&'a str> {
        let place = self.named.iter().position(|(name, _)| *name == key)?;
        Some(self.named.remove(place).1)
    }

    fn named_or(&mut self, key: &str, default: u64) -> Result<u64, String> {
        self.named(key).map_or(Ok(default), number)
    }

    fn all_used(&self) -> Result<(), String> {
        match (self.value, self.named.first()) {
            (None, None) => Ok(()),
            (Some(value), _) => Err(format!("it takes no `{value}`")),
            (_, Some((key, _))) => Err(format!("it takes no `{key}=`")),
        }
    }
}

/// A number: decimal, or hexadecimal after 0x, or decimal with k, M or G for powers of 1024.
pub fn number(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number");
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).map_err(|_| wrong());
    }
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

fn number_from(least: u64, text: &str) -> Result<u64, String> {
    let number = number(text)?;
    if number < least {
        return Err(format!("{number} is less than {least}"));
    }
    Ok(number)
}

fn small<T: TryFrom<u64>>(number: u64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{number} is too much"))
}

/// Seconds, with up to three decimals.
fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a number of seconds");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let thousandths: u64 = format!("{part:0<3.3}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1000).and_then(|all| all.checked_add(thousandths)).ok_or_else(wrong)
}

//! What a monitor is told when it starts, and what it answers: messages on the socket that is its
//! stdin.
//!
//! A message is one packet (`SOCK_SEQPACKET`). The first goes down: a [`Job`] as JSON, with its
//! descriptors beside it (`SCM_RIGHTS`). One comes back: a single byte once the vCPUs run, or a
//! [`Report`] as JSON. The end of the stream is the end of the process.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use super::end::Report;

/// The longest message, as long as the kernel lets one be: a spec with a thousand layers fits.
const LONGEST: usize = 192 << 10;

/// At most the lock, control, console, log and an attached client.
const DESCRIPTORS: usize = 5;

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    /// The machine.
    pub spec: vmm::Spec,
    /// Where its sockets are.
    pub sockets: PathBuf,
}

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// The vCPUs run.
    Runs,
    /// It failed before or after that.
    Failed(Report),
    /// It ended without a further word.
    Ended,
}

/// A socket for this process and one for the child.
///
/// # Errors
/// There are too many open files.
pub fn channel() -> Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .context("cannot make a socket for its monitor")
}

/// Sends the job and gives the child these descriptors.
///
/// # Errors
/// The child is gone.
pub fn send(socket: BorrowedFd<'_>, job: &Job, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    let text = serde_json::to_vec(job)?;
    ensure!(text.len() <= LONGEST, "its settings are too long: {} bytes", text.len());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(
        control.push(SendAncillaryMessage::ScmRights(descriptors)),
        "too many descriptors for its monitor"
    );
    let flags = SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(&text)], &mut control, flags)
        .context("cannot talk to its monitor")?;
    Ok(())
}

/// Takes the job in, in the child.
///
/// # Errors
/// What came is no job.
pub fn receive(socket: BorrowedFd<'_>) -> Result<(Job, Vec<OwnedFd>)> {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags)
            .context("cannot receive the job: this is started by offshoot, not by hand")?;
    let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
    ensure!(!received.flags.intersects(cut), "the job does not fit");
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    text.truncate(received.bytes);
    Ok((serde_json::from_slice(&text).context("the job makes no sense")?, descriptors))
}

/// Tells the parent why there will be no run; it may be gone.
pub fn report(socket: BorrowedFd<'_>, report: &Report) {
    if let Ok(text) = serde_json::to_vec(report) {
        let _ = rustix::net::send(socket, &text, SendFlags::NOSIGNAL);
    }
}

/// Waits for the child's answer.
///
/// # Errors
/// The socket is broken.
pub fn answer(socket: &OwnedFd) -> Result<Answer> {
    let mut text = vec![0; LONGEST];
    let (length, _) = rustix::io::retry_on_intr(|| {
        rustix::net::recv(socket.as_fd(), &mut text[..], RecvFlags::empty())
    })
    .context("cannot listen to its monitor")?;
    match text.get(..length) {
        None | Some([]) => Ok(Answer::Ended),
        Some(report @ [b'{', ..]) => {
            Ok(Answer::Failed(serde_json::from_slice(report).context("its monitor babbles")?))
        }
        Some(_) => Ok(Answer::Runs),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;
    use crate::failure::Code;

    fn job() -> Job {
        let text = r#"{"spec":{"name":"a","uuid":"6d8dfd94-9ab4-4b8d-9b3a-3a6a9a1e4a11","cpus":1,
            "memory_mib":64,"boot":{"kernel":"/k","initrd":null,"cmdline":""},"disks":[]},
            "sockets":"/run/x"}"#;
        serde_json::from_str(text).expect("a job")
    }

    #[test]
    fn a_job_arrives_with_its_descriptors_in_order() {
        let (parent, child) = channel().expect("a channel");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        send(parent.as_fd(), &job(), &[reader.as_fd(), writer.as_fd()]).expect("sent");
        drop((reader, writer));
        let (received, descriptors) = receive(child.as_fd()).expect("received");
        assert_eq!(received.spec, job().spec);
        let [reader, writer]: [OwnedFd; 2] = descriptors.try_into().expect("two descriptors");
        std::io::Write::write_all(&mut File::from(writer), b"hello").expect("written");
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello");
    }

    #[test]
    fn answers_are_told_apart() {
        let (parent, child) = channel().expect("a channel");
        rustix::io::write(&child, b"1").expect("written");
        let failure = Report { code: Code::NoKvm, text: "no KVM".into(), hint: None };
        report(child.as_fd(), &failure);
        drop(child);
        assert!(matches!(answer(&parent), Ok(Answer::Runs)));
        assert!(matches!(answer(&parent), Ok(Answer::Failed(r)) if r.code == Code::NoKvm));
        assert!(matches!(answer(&parent), Ok(Answer::Ended)));
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let (parent, child) = channel().expect("a channel");
        rustix::io::write(&parent, b"{}").expect("written");
        assert!(receive(child.as_fd()).is_err());
    }
}

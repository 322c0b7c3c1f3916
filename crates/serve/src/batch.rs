//! Many datagrams in one system call, and the source address of answers: the only `unsafe` code of this crate.
//!
//! Buffers live as long as the [`Batch`]; the headers with pointers to them are filled in right before each call and
//! not read as pointers afterwards, so that moving a `Batch` does no harm.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

/// How many datagrams are received and sent at once.
pub(crate) const BATCH: usize = 32;
/// Longest datagram that is read: larger than queries ever are, large enough for an UPDATE of some hundred records.
const RECEIVE: usize = 8192;
/// Room for one IP_PKTINFO or IPV6_PKTINFO message.
const CONTROL: usize = 64;

/// The address of ours that a datagram was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    addr: IpAddr,
    /// The interface, where the address has a meaning only there.
    interface: u32,
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Buffers for a batch of datagrams and their answers.
pub(crate) struct Batch {
    /// Whether the socket tells which address a datagram was sent to.
    with_local: bool,
    received: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    replies: Vec<Vec<u8>>,
    /// Which of the replies are to be sent.
    pending: Vec<usize>,
}

/// A datagram.
pub(crate) struct Datagram<'b> {
    /// Which of the batch it is.
    pub at: usize,
    /// What it holds.
    pub message: &'b [u8],
    /// Who sent it.
    pub peer: SocketAddr,
    /// To which address of ours, where that is not plain from the socket.
    pub local: Option<Local>,
    /// Whether it was longer than what is read.
    pub too_long: bool,
}

/// Makes a socket tell to which address a datagram was sent, if it listens on all of them.
pub(crate) fn want_local(socket: &UdpSocket) -> io::Result<bool> {
    let addr = socket.local_addr()?;
    if !addr.ip().is_unspecified() {
        return Ok(false);
    }
    let (level, option) = match addr {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while `socket` is borrowed; the option's value is a C int that outlives the call,
    // and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Batch {
    pub(crate) fn new(with_local: bool, reply_capacity: usize) -> Self {
        // SAFETY: all three are plain C structures of integers and pointers, for which zeros are a valid value.
        let (name, vector, header) = unsafe {
            (
                zeroed::<libc::sockaddr_storage>(),
                zeroed::<libc::iovec>(),
                zeroed::<libc::mmsghdr>(),
            )
        };
        Self {
            with_local,
            received: vec![0; BATCH * RECEIVE].into(),
            names: vec![name; BATCH].into(),
            controls: vec![Control([0; CONTROL]); BATCH].into(),
            vectors: vec![vector; BATCH].into(),
            headers: vec![header; BATCH].into(),
            replies: (0..BATCH)
                .map(|_| Vec::with_capacity(reply_capacity))
                .collect(),
            pending: Vec::with_capacity(BATCH),
        }
    }

    /// Waits for datagrams, as long as the socket's time-out allows; returns how many came.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for at in 0..BATCH {
            self.vectors[at] = libc::iovec {
                iov_base: self.received[at * RECEIVE..].as_mut_ptr().cast(),
                iov_len: RECEIVE,
            };
            let header = &mut self.headers[at].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = ptr::from_mut(&mut self.vectors[at]);
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            if self.with_local {
                header.msg_control = self.controls[at].0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL as _;
            } else {
                header.msg_control = ptr::null_mut();
                header.msg_controllen = 0;
            }
        }
        // SAFETY: the descriptor is open while `socket` is borrowed. There are BATCH headers, and each points to a name,
        // one vector and a control buffer of the lengths that it states; all of them belong to `self`, which is
        // borrowed mutably, so nobody else touches them. The system writes within those lengths only.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    /// What has been received, a message for each datagram.
    pub(crate) fn messages(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let buffers = self.received.chunks_exact(RECEIVE);
        buffers
            .zip(&self.headers)
            .take(count)
            .map(|(buffer, header)| &buffer[..(header.msg_len as usize).min(RECEIVE)])
    }

    /// Shows each received datagram together with a buffer for its answer, which is sent if `each` says so.
    pub(crate) fn each(
        &mut self,
        count: usize,
        mut each: impl FnMut(Datagram<'_>, &mut Vec<u8>) -> bool,
    ) {
        self.pending.clear();
        for at in 0..count.min(BATCH) {
            let header = &self.headers[at];
            let len = (header.msg_len as usize).min(RECEIVE);
            let Some(peer) = address(&self.names[at]) else {
                continue;
            };
            let datagram = Datagram {
                at,
                message: &self.received[at * RECEIVE..][..len],
                peer,
                local: match self.with_local {
                    true => local_of(&self.controls[at], header.msg_hdr.msg_controllen as _),
                    false => None,
                },
                too_long: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
            if each(datagram, &mut self.replies[at]) {
                self.pending.push(at);
            }
        }
    }

    /// Sends the answers; returns how many could not be sent.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> usize {
        for (slot, &at) in self.pending.iter().enumerate() {
            // The answer goes to where the datagram came from: its name is still there, with the length that the
            // system gave it, in the header of the same place, which is at or behind the one that is written now.
            let name_len = self.headers[at].msg_hdr.msg_namelen;
            let control_len = match self.with_local {
                true => reply_control(
                    &mut self.controls[at],
                    self.headers[at].msg_hdr.msg_controllen as _,
                ),
                false => 0,
            };
            let reply = &mut self.replies[at];
            self.vectors[slot] = libc::iovec {
                iov_base: reply.as_mut_ptr().cast(),
                iov_len: reply.len(),
            };
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = ptr::from_mut(&mut self.names[at]).cast();
            header.msg_namelen = name_len;
            header.msg_iov = ptr::from_mut(&mut self.vectors[slot]);
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            header.msg_control = match control_len {
                0 => ptr::null_mut(),
                _ => self.controls[at].0.as_mut_ptr().cast(),
            };
            header.msg_controllen = control_len as _;
        }
        let mut sent = 0;
        let mut failed = 0;
        let all = self.pending.len();
        while sent < all {
            let rest = &mut self.headers[sent..all];
            // SAFETY: the descriptor is open while `socket` is borrowed. Each of the headers points to a name, one vector
            // and a control buffer of the lengths that it states, and the vector to an answer of the length that it
            // states; all belong to `self`, which is borrowed mutably. The system only reads them, but for `msg_len`.
            let done = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    0,
                )
            };
            match usize::try_from(done) {
                Ok(done) if done > 0 => sent += done,
                // The first of the rest could not be sent; the others may.
                _ => {
                    sent += 1;
                    failed += 1;
                }
            }
        }
        self.pending.clear();
        failed
    }
}

/// Sends one datagram from a given address of ours.
pub(crate) fn send_from(
    socket: &UdpSocket,
    message: &[u8],
    peer: SocketAddr,
    local: Option<Local>,
) -> io::Result<()> {
    let Some(local) = local else {
        return socket.send_to(message, peer).map(drop);
    };
    let name = socket2::SockAddr::from(peer);
    let mut control = Control([0; CONTROL]);
    let control_len = write_control(&mut control, local);
    let mut vector = libc::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len(),
    };
    // SAFETY: zeros are a valid value of a message header.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = ptr::from_mut(&mut vector);
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control_len as _;
    // SAFETY: the descriptor is open while `socket` is borrowed; the header points to locals and to `message`, all of
    // which outlive the call, with their lengths. The system only reads what it sends, so casting constness away is
    // a matter of the C signature alone.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, 0) };
    match sent {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the system has written a sockaddr_in, and a sockaddr_storage is large enough
            // and aligned for each kind of address.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a sockaddr_in6.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Length of the head of a control message; its data begins right behind, as `CMSG_DATA` has it on Linux.
const HEAD: usize = size_of::<libc::cmsghdr>();

/// The address in a control buffer of which the system has filled in some octets. It is only ever asked for the one
/// message that was asked for with [`want_local`], so only the first is looked at.
fn local_of(control: &Control, len: usize) -> Option<Local> {
    let octets = &control.0[..len.min(CONTROL)];
    let data = octets.get(HEAD..)?;
    // SAFETY: there are at least HEAD octets, the buffer is aligned for a cmsghdr, which is made of integers.
    let head = unsafe { &*octets.as_ptr().cast::<libc::cmsghdr>() };
    match (head.cmsg_level, head.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // in_pktinfo: interface, our address, the destination in the IP header.
            let addr = data.get(4..8)?.first_chunk::<4>()?;
            Some(Local {
                addr: Ipv4Addr::from(*addr).into(),
                interface: 0,
            })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // in6_pktinfo: destination, interface.
            let addr = Ipv6Addr::from(*data.get(..16)?.first_chunk::<16>()?);
            let interface = u32::from_ne_bytes(*data.get(16..20)?.first_chunk::<4>()?);
            Some(Local {
                addr: addr.into(),
                // Routes decide, but for addresses that exist once on each link.
                interface: match addr.is_unicast_link_local() {
                    true => interface,
                    false => 0,
                },
            })
        }
        _ => None,
    }
}

/// Turns what came with a datagram into what its answer is sent with.
fn reply_control(control: &mut Control, len: usize) -> usize {
    match local_of(control, len) {
        Some(local) => write_control(control, local),
        None => 0,
    }
}

fn write_control(control: &mut Control, local: Local) -> usize {
    let mut data = [0u8; 20];
    let (level, kind, len) = match local.addr {
        IpAddr::V4(addr) => {
            data[4..8].copy_from_slice(&addr.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
        }
        IpAddr::V6(addr) => {
            data[..16].copy_from_slice(&addr.octets());
            data[16..20].copy_from_slice(&local.interface.to_ne_bytes());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
        }
    };
    control.0 = [0; CONTROL];
    control.0[HEAD..HEAD + len].copy_from_slice(&data[..len]);
    // SAFETY: the buffer is larger than HEAD, aligned for a cmsghdr, and borrowed mutably.
    let head = unsafe { &mut *control.0.as_mut_ptr().cast::<libc::cmsghdr>() };
    head.cmsg_level = level;
    head.cmsg_type = kind;
    head.cmsg_len = (HEAD + len) as _;
    // The length of the whole is rounded up to that of a machine word, as `CMSG_SPACE` has it.
    (HEAD + len).next_multiple_of(size_of::<usize>())
}

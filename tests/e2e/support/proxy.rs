//! The network between two servers, and how it fails: a TCP proxy that can stop forwarding without
//! closing anything, cut what is connected, or refuse to be connected to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use testbed::Port;

pub struct Proxy {
    port: Port,
    network: Arc<Network>,
}

struct Network {
    /// The port of the server behind it.
    server: u16,
    manner: Mutex<Manner>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Forwards,
    Silent,
    Refuses,
    Over,
}

impl Proxy {
    pub fn start(server: u16) -> Proxy {
        let port = Port::reserve().expect("a port is free");
        let network = Arc::new(Network {
            server,
            manner: Mutex::new(Manner::Forwards),
            changed: Condvar::new(),
            streams: Mutex::default(),
        });
        let (number, shared) = (port.number, network.clone());
        let listener = listen(number);
        thread::spawn(move || shared.serve(number, listener));
        Proxy { port, network }
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn forward(&self) {
        self.turn(Manner::Forwards);
    }

    /// Connections stay open and new ones are accepted, but nothing comes through.
    pub fn be_silent(&self) {
        self.turn(Manner::Silent);
    }

    pub fn refuse(&self) {
        self.turn(Manner::Refuses);
        self.cut();
    }

    /// Closes every connection; new ones are welcome.
    pub fn cut(&self) {
        for stream in self.network.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn turn(&self, manner: Manner) {
        *self.network.manner.lock().unwrap() = manner;
        self.network.changed.notify_all();
        // Wakes the listener, so that it looks.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.turn(Manner::Over);
        self.cut();
    }
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is reserved")
}

impl Network {
    fn serve(self: Arc<Self>, port: u16, mut listener: TcpListener) {
        loop {
            while let Ok((client, _)) = listener.accept() {
                if matches!(self.manner(), Manner::Refuses | Manner::Over) {
                    break;
                }
                let network = self.clone();
                thread::spawn(move || network.connect(client));
            }
            drop(listener);
            if self.wait_while(Manner::Refuses) == Manner::Over {
                return;
            }
            listener = listen(port);
        }
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        if self.wait_while(Manner::Silent) != Manner::Forwards {
            return;
        }
        // Without a server the client sees its connection end.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server)) else { return };
        let share = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
        self.streams.lock().unwrap().extend([share(&client), share(&server)]);
        let (network, to_client, to_server) = (self.clone(), share(&client), share(&server));
        thread::spawn(move || network.forward_from(client, to_server));
        self.forward_from(server, to_client);
    }

    /// The end of a connection has to come through like anything else.
    fn forward_from(&self, mut from: TcpStream, mut to: TcpStream) {
        let _ = to.set_nodelay(true);
        let mut bytes = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            self.wait_while(Manner::Silent);
            if read == 0 || to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    fn wait_while(&self, manner: Manner) -> Manner {
        let now = self.manner.lock().unwrap();
        *self.changed.wait_while(now, |now| *now == manner).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// A server that says every byte back.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = stream.try_clone().unwrap();
                thread::spawn(move || std::io::copy(&mut reader, &mut stream));
            }
        });
        port
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap()
    }

    fn is_echoed(stream: &mut TcpStream, within: Duration) -> bool {
        stream.set_read_timeout(Some(within)).unwrap();
        match stream.read(&mut [0; 8]) {
            Ok(read) => read == 3,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    #[test]
    fn what_is_sent_into_silence_arrives_when_it_ends() {
        let proxy = Proxy::start(echo());
        let mut stream = connect(&proxy);
        stream.write_all(b"one").unwrap();
        assert!(is_echoed(&mut stream, DEADLINE));
        proxy.be_silent();
        stream.write_all(b"two").unwrap();
        assert!(!is_echoed(&mut stream, Duration::from_millis(200)));
        proxy.forward();
        assert!(is_echoed(&mut stream, DEADLINE));
    }

    #[test]
    fn connections_that_are_cut_end_and_refused_ones_are_not_made() {
        let proxy = Proxy::start(echo());
        let mut stream = connect(&proxy);
        stream.write_all(b"one").unwrap();
        assert!(is_echoed(&mut stream, DEADLINE));
        proxy.refuse();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
        let refuses = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).is_err();
        testbed::poll_until(DEADLINE, "the listener to go", || Ok(refuses().then_some(())));
        proxy.forward();
        testbed::poll_until(DEADLINE, "it to come back", || Ok((!refuses()).then_some(())));
    }
}

//! Which process is asked: the one whose state directory or address is given, else the only one of this user that runs.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;
use watershed_control::state_dir::StateEnvironment;

use super::Failure;
use crate::admin::{SOCKET_FILE, TOKEN_FILE};

/// Where `run` listens unless it is told otherwise.
const ADMIN_DEFAULT: ([u8; 4], u16) = ([127, 0, 0, 1], 9901);

/// Which process is asked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaceArgs {
    /// The state directory of the process to ask, through the socket in it
    #[arg(long, global = true, value_name = "DIR", help_heading = "Which process")]
    pub state_dir: Option<PathBuf>,
    /// The admin address of the process to ask
    #[arg(long, global = true, value_name = "ADDR", env = "WATERSHED_ADMIN", help_heading = "Which process")]
    pub admin: Option<SocketAddr>,
    /// The file with its token, which changes over its admin address need
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "WATERSHED_TOKEN_FILE",
        help_heading = "Which process"
    )]
    pub token_file: Option<PathBuf>,
}

/// A way to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Its socket.
    Socket(PathBuf),
    /// Its admin address.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What lets its bearer change something.
        token: Option<String>,
        /// The state directories of this user's processes, if it was not said which is meant.
        others: Vec<PathBuf>,
    },
}

impl Place {
    /// Follows the arguments, then looks at what runs.
    pub(super) fn find(args: &PlaceArgs, environment: &StateEnvironment) -> Result<Self, Failure> {
        let token = args.token_file.as_deref().map(read_token).transpose()?;
        if let Some(directory) = &args.state_dir {
            let socket = directory.join(SOCKET_FILE);
            return Ok(match args.admin {
                // No socket fits into a path this long, but the token lies there.
                Some(address) if !socket.exists() => {
                    let beside = || read_token(&directory.join(TOKEN_FILE)).ok();
                    Self::Tcp { address, token: token.or_else(beside), others: Vec::new() }
                }
                _ => Self::Socket(socket),
            });
        }
        let mut running = running(environment);
        if let Some(address) = args.admin {
            // The token of a process on this machine is nothing to show to another machine.
            let only = running.pop().filter(|_| running.is_empty() && address.ip().is_loopback());
            let beside = || read_token(&only?.join(TOKEN_FILE)).ok();
            return Ok(Self::Tcp { address, token: token.or_else(beside), others: Vec::new() });
        }
        Ok(match &*running {
            // Rather than the default address with the token beside: this is certainly the same process.
            [only] if token.is_none() => Self::Socket(only.join(SOCKET_FILE)),
            _ => Self::Tcp { address: ADMIN_DEFAULT.into(), token, others: running },
        })
    }

    /// How to name it to people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Tcp { address, .. } => address.to_string(),
        }
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Failed(format!("cannot read the token in {}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

/// The state directories of this user in which a process answers. A socket that a killed one left refuses.
fn running(environment: &StateEnvironment) -> Vec<PathBuf> {
    let below = |home: PathBuf| fs::read_dir(home).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut directories: Vec<PathBuf> =
        environment.home_of_directories().into_iter().flat_map(below).collect();
    directories.extend(environment.given_directory());
    directories.sort();
    directories.dedup();
    directories.retain(|directory| UnixStream::connect(directory.join(SOCKET_FILE)).is_ok());
    directories
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    struct Scene {
        home: TempDir,
        listeners: Vec<UnixListener>,
    }

    impl Scene {
        fn new() -> Self {
            Self { home: tempfile::tempdir().unwrap(), listeners: Vec::new() }
        }

        /// A process with this state directory, or what a killed one has left.
        fn process(&mut self, name: &str, runs: bool) -> PathBuf {
            let directory = self.home.path().join("watershed").join(name);
            fs::create_dir_all(&directory).unwrap();
            let listener = UnixListener::bind(directory.join(SOCKET_FILE)).unwrap();
            self.listeners.extend(runs.then_some(listener));
            fs::write(directory.join(TOKEN_FILE), format!("{name}'s\n")).unwrap();
            directory
        }

        fn find(&self, args: &PlaceArgs) -> Place {
            let xdg_state_home = Some(self.home.path().as_os_str().to_owned());
            Place::find(args, &StateEnvironment { xdg_state_home, ..StateEnvironment::default() }).unwrap()
        }
    }

    fn tcp(address: &str, token: Option<&str>, others: &[PathBuf]) -> Place {
        let token = token.map(str::to_owned);
        Place::Tcp { address: address.parse().unwrap(), token, others: others.to_vec() }
    }

    #[test]
    fn the_only_process_that_runs_is_found_by_its_socket() {
        let mut scene = Scene::new();
        let nothing = PlaceArgs::default();
        assert_eq!(scene.find(&nothing), tcp("127.0.0.1:9901", None, &[]));
        scene.process("killed", false);
        let a = scene.process("a", true);
        assert_eq!(scene.find(&nothing), Place::Socket(a.join(SOCKET_FILE)));
        let b = scene.process("b", true);
        assert_eq!(scene.find(&nothing), tcp("127.0.0.1:9901", None, &[a, b]));
    }

    #[test]
    fn what_is_said_counts() {
        let mut scene = Scene::new();
        let a = scene.process("a", true);
        let args = |state_dir: Option<&Path>, admin: Option<&str>, token_file: Option<&Path>| PlaceArgs {
            state_dir: state_dir.map(Path::to_owned),
            admin: admin.map(|address| address.parse().unwrap()),
            token_file: token_file.map(Path::to_owned),
        };
        let elsewhere = scene.home.path().join("elsewhere");
        assert_eq!(
            scene.find(&args(Some(&elsewhere), None, None)),
            Place::Socket(elsewhere.join(SOCKET_FILE))
        );
        assert_eq!(
            scene.find(&args(Some(&a), Some("127.0.0.1:1"), None)),
            Place::Socket(a.join(SOCKET_FILE))
        );
        assert_eq!(scene.find(&args(None, Some("127.0.0.1:1"), None)), tcp("127.0.0.1:1", Some("a's"), &[]));
        assert_eq!(scene.find(&args(None, Some("192.0.2.1:1"), None)), tcp("192.0.2.1:1", None, &[]));
        let file = scene.home.path().join("file");
        fs::write(&file, "secret\n").unwrap();
        assert_eq!(
            scene.find(&args(None, Some("192.0.2.1:1"), Some(&file))),
            tcp("192.0.2.1:1", Some("secret"), &[])
        );
        fs::remove_file(a.join(SOCKET_FILE)).unwrap();
        assert_eq!(
            scene.find(&args(Some(&a), Some("127.0.0.1:1"), None)),
            tcp("127.0.0.1:1", Some("a's"), &[])
        );
        // Of two, nobody can say whose token it is.
        let mut scene = Scene::new();
        scene.process("a", true);
        scene.process("b", true);
        assert_eq!(scene.find(&args(None, Some("127.0.0.1:1"), None)), tcp("127.0.0.1:1", None, &[]));
    }
}

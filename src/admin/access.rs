//! Who may change something: whoever can open the unix socket, and over TCP whoever can read the token beside it.
//!
//! Both lie in the state directory, for its user alone, and are new with every start. The lock of that directory proves that what an
//! earlier process left there belongs to nobody, so it is replaced.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use watershed_control::state_dir::StateDir;

/// The socket's name in the state directory.
pub(crate) const SOCKET_FILE: &str = "admin.sock";
/// The token's name in the state directory.
pub(crate) const TOKEN_FILE: &str = "token";
/// Longest path of a socket, in bytes: the address has room for 108, and the last one is 0.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Connections that wait to be accepted.
const SOCKET_BACKLOG: i32 = 128;
/// Bytes of a token, before they are written as hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over TCP, where anybody on the machine may connect, a page in somebody's browser included.
    Tcp,
    /// Over the socket, which only its user can open.
    Socket,
}

/// The ways in on which something can be changed.
#[derive(Debug)]
pub(crate) struct Access {
    /// Or why there is none, as the end of "there is no token, because".
    token: Result<Token, String>,
    socket: Option<(UnixListener, Placed)>,
}

impl Access {
    /// Puts a token and a socket into the state directory. What cannot be had is logged, and said to whoever asks for it.
    pub(crate) fn over(state_dir: Option<&StateDir>) -> Self {
        let nothing = |why: String| Self { token: Err(why), socket: None };
        match state_dir {
            None => nothing("this process has no state directory".to_owned()),
            Some(held) if !held.is_writable() => {
                nothing(format!("the state directory {} cannot be written", held.path().display()))
            }
            Some(held) => Self::in_directory(held.path()),
        }
    }

    fn in_directory(directory: &Path) -> Self {
        let token = Token::write(directory).map_err(|error| {
            tracing::warn!(%error, directory = %directory.display(), "no token could be written: changes over TCP are refused");
            format!("it could not be written to {}: {error}", directory.display())
        });
        let path = directory.join(SOCKET_FILE);
        let socket = match bind_socket(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "no admin socket");
                None
            }
        };
        Self { token, socket }
    }

    /// Where the socket is.
    pub(crate) fn socket_path(&self) -> Option<&Path> {
        self.socket.as_ref().map(|(_, placed)| &*placed.0)
    }

    /// The socket, to be served.
    pub(super) fn listener(&self) -> io::Result<Option<UnixListener>> {
        self.socket.as_ref().map(|(listener, _)| listener.try_clone()).transpose()
    }

    /// Whether a request may change something; if not, the status and a sentence that says how it could.
    pub(super) fn check(&self, way: Way, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        if way == Way::Socket {
            return Ok(());
        }
        let token = self.token.as_ref().map_err(|why| {
            let said = format!(
                "nothing can be changed over TCP here, because that needs a token and there is none: {why}; \
                 start `watershed run` with a --state-dir that it can write"
            );
            (StatusCode::FORBIDDEN, said)
        })?;
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
        match shown {
            Some((scheme, shown)) if scheme.eq_ignore_ascii_case(b"bearer ") && token.is(shown) => Ok(()),
            _ => Err((StatusCode::UNAUTHORIZED, self.how(token))),
        }
    }

    fn how(&self, token: &Token) -> String {
        let socket =
            self.socket_path().map(|path| format!("; over the socket {} it needs none", path.display()));
        format!(
            "a change over TCP needs the header `Authorization: Bearer TOKEN`, where TOKEN is what the file {} holds{}",
            token.placed.0.display(),
            socket.unwrap_or_default()
        )
    }
}

/// A secret that proves its bearer to be the user of this process.
struct Token {
    text: String,
    placed: Placed,
}

impl Token {
    fn write(directory: &Path) -> io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        // From the system: what generators in the process make can be guessed from what they made.
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        let path = directory.join(TOKEN_FILE);
        // Renamed into place: readers see the whole of it, and an old file's permissions do not matter.
        let new = directory.join(format!(".{TOKEN_FILE}.new"));
        fs::remove_file(&new).or_else(ignore_missing)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?.write_all(text.as_bytes())?;
        fs::rename(&new, &path)?;
        Ok(Self { text, placed: Placed::at(path)? })
    }

    /// Looks at every byte, whatever the first ones were: how long it takes tells nothing.
    fn is(&self, shown: &[u8]) -> bool {
        let expected = self.text.as_bytes();
        let differing = expected.iter().zip(shown).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        expected.len() == shown.len() && differing == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("placed", &self.placed).finish_non_exhaustive()
    }
}

fn bind_socket(path: &Path) -> io::Result<(UnixListener, Placed)> {
    let length = path.as_os_str().as_bytes().len();
    if length > SOCKET_PATH_BYTES_MAX {
        let what = format!(
            "its path has {length} bytes and may have {SOCKET_PATH_BYTES_MAX}; give a shorter --state-dir"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, what));
    }
    fs::remove_file(path).or_else(ignore_missing)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name, so that there is no moment in which others could open it.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, SOCKET_BACKLOG)?;
    Ok((UnixListener::from(socket), Placed::at(path.to_owned())?))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A file that this process put somewhere. Taken away with it, unless another process has put its own there meanwhile.
#[derive(Debug)]
struct Placed(PathBuf, Identity);

/// Device, inode and time: inodes are used again.
type Identity = (u64, u64, i64, i64);

impl Placed {
    fn at(path: PathBuf) -> io::Result<Self> {
        let identity = identity(&path)?;
        Ok(Self(path, identity))
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let is = fs::symlink_metadata(path)?;
    Ok((is.dev(), is.ino(), is.mtime(), is.mtime_nsec()))
}

impl Drop for Placed {
    fn drop(&mut self) {
        if identity(&self.0).is_ok_and(|identity| identity == self.1) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use http::HeaderValue;

    use super::*;

    fn permissions(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn bearing(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn token_and_socket_are_for_one_user_replace_what_was_left_and_go_with_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let [socket, token] = [SOCKET_FILE, TOKEN_FILE].map(|name| directory.path().join(name));
        fs::write(&token, "old").unwrap();
        fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
        drop(UnixListener::bind(&socket).unwrap());
        let access = Access::in_directory(directory.path());
        assert_eq!((permissions(&socket), permissions(&token)), (0o600, 0o600));
        assert_eq!(access.socket_path(), Some(&*socket));
        let text = fs::read_to_string(&token).unwrap();
        assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
        let later = Access::in_directory(directory.path());
        assert_ne!(fs::read_to_string(&token).unwrap(), text);
        drop(access);
        assert!(socket.exists() && token.exists(), "another process put them there");
        drop(later);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn over_tcp_only_the_whole_token_opens() {
        let directory = tempfile::tempdir().unwrap();
        let access = Access::in_directory(directory.path());
        let token = fs::read_to_string(directory.path().join(TOKEN_FILE)).unwrap();
        assert_eq!(access.check(Way::Tcp, &bearing(&format!("Bearer {token}"))), Ok(()));
        assert_eq!(access.check(Way::Tcp, &bearing(&format!("bearer {token}"))), Ok(()));
        let wrong = if token.ends_with('0') { "1" } else { "0" };
        for bad in [
            String::new(),
            "Bearer ".to_owned(),
            token.clone(),
            format!("Basic {token}"),
            format!("Bearer {}", &token[..63]),
            format!("Bearer {token}0"),
            format!("Bearer {}{wrong}", &token[..63]),
        ] {
            let (status, said) = access.check(Way::Tcp, &bearing(&bad)).unwrap_err();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{bad}");
            assert!(said.contains("/token holds; over the socket") && !said.contains(&token), "{said}");
        }
        assert!(access.check(Way::Tcp, &HeaderMap::new()).is_err());
        assert_eq!(access.check(Way::Socket, &HeaderMap::new()), Ok(()));
        assert!(!format!("{access:?}").contains(&token));
    }

    #[test]
    fn without_a_state_directory_nothing_is_changed_over_tcp_and_it_says_so() {
        let (status, said) = Access::over(None).check(Way::Tcp, &HeaderMap::new()).unwrap_err();
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(
            said.contains("this process has no state directory") && said.contains("--state-dir"),
            "{said}"
        );
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_leaves_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let room = SOCKET_PATH_BYTES_MAX - directory.path().as_os_str().len() - SOCKET_FILE.len() - 2;
        for (length, fits) in [(room, true), (room + 1, false)] {
            let deep = directory.path().join("x".repeat(length));
            fs::create_dir(&deep).unwrap();
            let access = Access::in_directory(&deep);
            assert_eq!(access.socket_path().is_some(), fits, "{length}");
            assert!(access.token.is_ok());
        }
    }
}

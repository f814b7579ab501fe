//! Lookup by host: the most specific name first.

use hashbrown::HashMap;
use watershed_config::model::Hostname;

type Map<T> = HashMap<Box<str>, T, foldhash::fast::RandomState>;

/// Values by hostname.
#[derive(Debug)]
pub(crate) struct HostMap<T> {
    exact: Map<T>,
    /// By suffix with its leading dot.
    wildcard: Map<T>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: Map::default(), wildcard: Map::default(), any: None }
    }
}

impl<T> HostMap<T> {
    /// The value of this very hostname, made if it is not there.
    pub(crate) fn entry(&mut self, host: &Hostname, make: impl FnOnce() -> T) -> &mut T {
        match host {
            Hostname::Exact(name) => self.exact.entry_ref(&**name).or_insert_with(make),
            Hostname::Wildcard(suffix) => self.wildcard.entry_ref(&**suffix).or_insert_with(make),
            Hostname::Any => self.any.get_or_insert_with(make),
        }
    }

    /// Offers the values whose hostname matches, the most specific first, until one is taken.
    pub(crate) fn find<'a, R: 'a>(
        &'a self,
        host: &str,
        mut take: impl FnMut(&'a T) -> Option<R>,
    ) -> Option<R> {
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(host).and_then(&mut take)
        {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            // A wildcard stands for at least one label, so the suffix never begins at the start.
            let dots = memchr::memchr_iter(b'.', host.as_bytes()).filter(|dot| *dot > 0);
            for dot in dots {
                if let Some(found) = self.wildcard.get(&host[dot..]).and_then(&mut take) {
                    return Some(found);
                }
            }
        }
        self.any.as_ref().and_then(take)
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values()).chain(&self.any)
    }
}

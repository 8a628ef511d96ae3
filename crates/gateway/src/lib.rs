//! Bytes of each client protocol to and from requests, behind one Service trait.

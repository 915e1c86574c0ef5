// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pattern is the name of a socket, with a part of its own for each process: two instances share a state directory during an
// update, and each has process number 1 in its container.
const pattern = "status-*.sock"

// Patience bounds a question to a process. One that has not answered by then hangs.
const Patience = 3 * time.Second

// Serve answers at a new socket in dir, for root alone, until it is closed. Serve removes the sockets of processes that have gone.
func Serve(dir string) (io.Closer, error) {
	_, dead, err := sockets(dir)
	if err != nil {
		return nil, err
	}
	for _, path := range dead {
		_ = os.Remove(path) // another process may have been quicker
	}
	l, path, err := listen(dir)
	if err != nil {
		return nil, fmt.Errorf("making a socket for the command status: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Collect()) // the client may have gone
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: Patience, WriteTimeout: Patience}
	go func() { _ = s.Serve(l) }() // ErrServerClosed
	return server{s, path}, nil
}

// A server answers at a path.
type server struct {
	*http.Server
	path string
}

// Close ends the answers, and removes the socket.
func (s server) Close() error { return errors.Join(s.Server.Close(), os.Remove(s.path)) }

// begun ends the name of a socket at which nobody listens yet.
const begun = ".new"

// listen listens at a new socket in dir. The socket gets its last name when it listens: before, another process would take it
// for a dead one.
func listen(dir string) (net.Listener, string, error) {
	f, err := os.CreateTemp(dir, pattern+begun)
	if err != nil {
		return nil, "", err
	}
	before := f.Name()
	path := strings.TrimSuffix(before, begun)
	f.Close()
	os.Remove(before) // the name is the process's own now
	l, err := net.Listen("unix", before)
	if err != nil {
		return nil, "", err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = errors.Join(os.Chmod(before, 0o600), os.Rename(before, path)); err != nil {
		l.Close()
		os.Remove(before)
	}
	return l, path, err
}

// Sockets returns the paths of the sockets in dir that a process answers at.
func Sockets(dir string) (live []string, err error) {
	live, _, err = sockets(dir)
	return live, err
}

// sockets returns those that a process answers at, and the others.
func sockets(dir string) (live, dead []string, err error) {
	all, err := filepath.Glob(filepath.Join(dir, pattern))
	for _, path := range all {
		c, err := net.DialTimeout("unix", path, Patience)
		switch {
		case err == nil:
			c.Close()
			live = append(live, path)
		case errors.Is(err, unix.EAGAIN): // it hangs, and too many ask already
			live = append(live, path)
		case errors.Is(err, unix.ECONNREFUSED):
			dead = append(dead, path)
		case !errors.Is(err, fs.ErrNotExist):
			return live, dead, fmt.Errorf("asking a process of this node: %w", err)
		}
	}
	return live, dead, err
}

// Ask asks the process at a socket for its report.
func Ask(path string) (r Report, err error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	c := http.Client{Timeout: Patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := c.Get("http://nodelocaldns/status")
	if err != nil {
		return r, fmt.Errorf("asking the process at %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return r, fmt.Errorf("asking the process at %s: it answers %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return r, fmt.Errorf("reading the report of the process at %s: %w", path, err)
	}
	return r, nil
}

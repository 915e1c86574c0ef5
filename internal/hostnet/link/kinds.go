// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nodelocaldns/nodelocaldns/internal/retry"
)

// tunDevice is where the kernel makes TUN links.
const tunDevice = "/dev/net/tun"

// busyWait bounds the wait for the link of a predecessor that is just dying.
const busyWait = 2 * time.Second

// tun is a link that lives as long as this process. When the file descriptor closes, for whatever reason, the kernel
// deletes the link with its addresses and routes. Nothing is ever read from the descriptor: packets to the addresses
// are delivered locally, through the loopback device.
type tun struct{ fd int }

func (t *tun) kind() string { return TUN }

func (t *tun) make(name string) error {
	fd, err := openTUN()
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	retry.Until(busyWait, 20*time.Millisecond, func() bool {
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		return !errors.Is(err, unix.EBUSY)
	})
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	t.fd = last(fd)
	return nil
}

// last gives the descriptor a number above those of the servers' sockets. The kernel closes the descriptors of a
// dying process in ascending order, and runs the work that it put off in descending order (task_work_run). So the
// link goes before the sockets. A query that arrives in between is lost, and a resolver tries it again. In the other
// order the query would be refused, and so would the second try.
func last(fd int) int {
	const beyond = 1000
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, beyond)
	if err != nil {
		return fd // a limit on open files: it works as well, if not as nicely
	}
	_ = unix.Close(fd) // the other one holds the link
	return moved
}

func (t *tun) destroy(string) error { return unix.Close(t.fd) }

// openTUN opens the device; its children must not keep the link alive.
func openTUN() (int, error) {
	fd, err := openDevice(tunDevice)
	if errors.Is(err, unix.ENOENT) {
		if own, ownErr := openOwnDevice(); ownErr == nil {
			fd, err = own, nil
		}
	}
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", tunDevice, err)
	}
	// A container may have an ordinary file there, from a mount gone wrong.
	if _, err := unix.IoctlGetUint32(fd, unix.TUNGETFEATURES); err != nil {
		return -1, errors.Join(fmt.Errorf("%s is no TUN device: %w", tunDevice, err), unix.Close(fd))
	}
	return fd, nil
}

func openDevice(path string) (int, error) {
	return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
}

// openOwnDevice makes the device's file for a moment. It is for a container that lacks the file but has CAP_MKNOD,
// which is among the default capabilities. The number is that of Documentation/networking/tuntap.rst; container
// runtimes allow it.
func openOwnDevice() (int, error) {
	path := fmt.Sprintf("/dev/nodelocaldns-tun-%d", unix.Getpid())
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil {
		return -1, err
	}
	fd, err := openDevice(path)
	if rmErr := unix.Unlink(path); rmErr != nil && err == nil {
		return -1, errors.Join(rmErr, unix.Close(fd))
	}
	return fd, err
}

// dummy is a link that outlives the process; only the lease takes its addresses away then.
type dummy struct{}

func (dummy) kind() string { return Dummy }

func (dummy) make(name string) error {
	return netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name}})
}

func (dummy) destroy(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

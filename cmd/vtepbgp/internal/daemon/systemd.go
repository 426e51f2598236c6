package daemon

import (
	"fmt"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notifier tells systemd how we are (sd_notify(3)); without systemd it does nothing.
type notifier struct {
	send func(state string) error
}

func newNotifier() notifier {
	return notifier{send: func(state string) error {
		_, err := sdnotify.SdNotify(false, state)
		return err
	}}
}

func (n notifier) ready(status string) error {
	return n.send(sdnotify.SdNotifyReady + "\nSTATUS=" + status)
}

func (n notifier) stopping() error { return n.send(sdnotify.SdNotifyStopping) }

// reloading needs the monotonic time for units of Type=notify-reload.
func (n notifier) reloading() error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("read monotonic clock: %w", err)
	}
	return n.send(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sdnotify.SdNotifyReloading, ts.Nano()/1000))
}

func (n notifier) alive() error { return n.send(sdnotify.SdNotifyWatchdog) }

// watchdogInterval is how often systemd wants a sign of life; 0 = never.
func watchdogInterval() (time.Duration, error) {
	d, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil {
		return 0, fmt.Errorf("read watchdog interval: %w", err)
	}
	return d / 2, nil // sd_watchdog_enabled(3): notify at half the time
}

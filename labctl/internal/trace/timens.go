package trace

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clockOffset is what this process's time namespace adds to CLOCK_MONOTONIC
// (time_namespaces(7)), in ns. The kernel's programs read the clock without it.
func clockOffset() (int64, error) {
	const file = "/proc/self/timens_offsets"
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return 0, nil // a kernel without time namespaces: before Linux 5.6, or without CONFIG_TIME_NS
	}
	if err == nil {
		var offset int64
		if offset, err = monotonicOffset(string(text)); err == nil {
			return offset, nil
		}
	}
	return 0, fmt.Errorf("read the clock's offset in this time namespace: %w", err)
}

// monotonicOffset reads timens_offsets: a clock, seconds and nanoseconds a line. The
// clock is a name, or before Linux 5.7 its number.
func monotonicOffset(text string) (int64, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "monotonic" && f[0] != "1" {
			continue
		}
		seconds, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(f[2], 10, 64)
		return seconds*1e9 + ns, err
	}
	return 0, fmt.Errorf("%q has no line for the monotonic clock", text)
}

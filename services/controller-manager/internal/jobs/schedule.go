package jobs

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // CronJobs name time zones, and images often have none.

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// parseSchedule reads a CronJob's schedule in its time zone.
func parseSchedule(cj *batchv1.CronJob) (s cron.Schedule, err error) {
	defer func() {
		if p := recover(); p != nil { // the parser panics on some input
			err = fmt.Errorf("invalid schedule format: %v", p)
		}
	}()
	text := cj.Spec.Schedule
	if cj.Spec.TimeZone != nil && !strings.Contains(text, "TZ") {
		text = fmt.Sprintf("TZ=%s %s", *cj.Spec.TimeZone, text)
	}
	return cron.ParseStandard(text)
}

var errNoInterval = errors.New("time difference between two schedules is less than 1 second")

// due is the newest time at which a CronJob should have started a Job since it
// last did, or since a deadline if that is later.
type due struct {
	// since is where the search began.
	since time.Time
	// last is zero if no time was due.
	last   time.Time
	missed int64
}

// manyMissed is from where on a CronJob is warned about.
const manyMissed = 100

func findDue(cj *batchv1.CronJob, s cron.Schedule, now time.Time, withDeadline bool) (due, error) {
	d := due{since: cj.CreationTimestamp.Time}
	if cj.Status.LastScheduleTime != nil {
		d.since = cj.Status.LastScheduleTime.Time
	}
	if deadline := cj.Spec.StartingDeadlineSeconds; withDeadline && deadline != nil {
		if t := now.Add(-time.Duration(*deadline) * time.Second); t.After(d.since) {
			d.since = t
		}
	}
	first := s.Next(d.since)
	second := s.Next(first)
	switch {
	case now.Before(first):
		return d, nil
	case now.Before(second):
		d.last = first
		return d, nil
	}
	interval := int64(second.Sub(first).Round(time.Second).Seconds())
	if interval < 1 {
		return d, errNoInterval // as a 31st of February
	}
	d.missed = int64(now.Sub(first).Seconds())/interval + 1
	// Years may have been missed: jump near the present and go on from there.
	from := first.Add(time.Duration((d.missed-2)*interval) * time.Second)
	for t := s.Next(from); !t.After(now); t = s.Next(t) {
		d.last = t
	}
	return d, nil
}

// skew is added to the next time, against clocks that differ.
const skew = 100 * time.Millisecond

// untilNext is how long until the next start.
func untilNext(cj *batchv1.CronJob, s cron.Schedule, now time.Time) time.Duration {
	d, err := findDue(cj, s, now, false)
	from := d.last
	switch {
	case err != nil, from.IsZero() && d.missed > 0:
		from = now
	case from.IsZero():
		from = d.since
	}
	return s.Next(from).Add(skew).Sub(now)
}

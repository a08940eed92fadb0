package batch

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	_ "time/tzdata" // images come without the zones

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
	"coracle.local/services/apiserver/internal/strategy"
)

// maxCronJobName leaves room for the time that the names of its Jobs end in.
const maxCronJobName = 52

// zonePart is what the parts of a time zone's name look like.
var zonePart = regexp.MustCompile(`^[A-Za-z\.\-_0-9+]{1,14}$`)

// CronJob is the behaviour of batch/v1 CronJob.
func CronJob() strategy.Kind[*batchv1.CronJob] {
	spec, status := batchv1.CronJobSpec{}.SwaggerDoc(), batchv1.CronJobStatus{}.SwaggerDoc()
	containers, images := cells.Workload()
	return strategy.Kind[*batchv1.CronJob]{
		Default: defaultCronJob,
		PrepareCreate: func(c *batchv1.CronJob) {
			c.Status = batchv1.CronJobStatus{}
			c.Generation = 1
			dropDisabledFields(&c.Spec.JobTemplate.Spec)
		},
		PrepareUpdate: func(c, old *batchv1.CronJob) {
			c.Status = old.Status
			dropDisabledFields(&c.Spec.JobTemplate.Spec)
			strategy.Generation(c, old, !equality.Semantic.DeepEqual(c.Spec, old.Spec))
		},
		ValidateCreate: func(c *batchv1.CronJob) field.ErrorList {
			errs := validateCronJob(&c.Spec, nil)
			if len(c.Name) > maxCronJobName {
				errs = append(errs, field.Invalid(metadataPath.Child("name"), c.Name, "must be no more than 52 characters"))
			}
			return errs
		},
		ValidateUpdate: func(c, old *batchv1.CronJob) field.ErrorList { return validateCronJob(&c.Spec, &old.Spec) },
		Status:         &strategy.Sub[*batchv1.CronJob]{PrepareUpdate: func(c, old *batchv1.CronJob) { c.Spec = old.Spec }},
		Warnings:       cronJobWarnings,

		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Schedule", spec["schedule"]),
			cells.Text("Timezone", spec["timeZone"]),
			cells.Bool("Suspend", spec["suspend"]),
			cells.Number("Active", status["active"]),
			cells.Text("Last Schedule", status["lastScheduleTime"]),
			cells.Age(), containers, images,
			cells.Wide(cells.Text("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"])),
		),
		Cells: func(c *batchv1.CronJob) []any {
			last := "<none>"
			if c.Status.LastScheduleTime != nil {
				last = cells.Since(*c.Status.LastScheduleTime)
			}
			names, images := cells.Containers(c.Spec.JobTemplate.Spec.Template.Spec.Containers)
			return []any{
				c.Name, c.Spec.Schedule, cells.Ptr(c.Spec.TimeZone, "<none>"), cells.BoolPtr(c.Spec.Suspend), int64(len(c.Status.Active)),
				last, cells.AgeOf(c), names, images, metav1.FormatLabelSelector(c.Spec.JobTemplate.Spec.Selector),
			}
		},
	}
}

// defaultCronJob leaves most of the Job's template empty, so that each Job
// gets the defaults of the version that creates it.
func defaultCronJob(c *batchv1.CronJob) {
	core.DefaultPodTemplate(&c.Spec.JobTemplate.Spec.Template)
	defaultFailurePolicy(c.Spec.JobTemplate.Spec.PodFailurePolicy)
	if c.Spec.ConcurrencyPolicy == "" {
		c.Spec.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	defaultPointer(&c.Spec.Suspend, false)
	defaultPointer(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	defaultPointer(&c.Spec.FailedJobsHistoryLimit, 1)
}

func validateCronJob(spec, old *batchv1.CronJobSpec) field.ErrorList {
	allow, zoneInSchedule := core.TemplateAllowances(nil), false
	if old != nil {
		allow, zoneInSchedule = core.TemplateAllowances(&old.JobTemplate.Spec.Template), strings.Contains(old.Schedule, "TZ")
	}
	var errs field.ErrorList
	if spec.Schedule != "" {
		errs = append(errs, validateSchedule(spec, zoneInSchedule)...)
	}
	errs = append(errs, check.NotNegative(specPath.Child("startingDeadlineSeconds"), ptr.Deref(spec.StartingDeadlineSeconds, 0))...)
	if spec.TimeZone != nil && (old == nil || !ptr.Equal(old.TimeZone, spec.TimeZone)) {
		errs = append(errs, validateTimeZone(specPath.Child("timeZone"), *spec.TimeZone)...)
	}
	errs = append(errs, check.RequiredOneOf(specPath.Child("concurrencyPolicy"), spec.ConcurrencyPolicy,
		batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	template, job := specPath.Child("jobTemplate", "spec"), &spec.JobTemplate.Spec
	errs = append(errs, validateJobSpec(template, job, allow)...)
	if job.Selector != nil {
		errs = append(errs, field.Invalid(template.Child("selector"), job.Selector, selectorIsGenerated))
	}
	if ptr.Deref(job.ManualSelector, false) {
		errs = append(errs, field.NotSupported(template.Child("manualSelector"), true, []string{"nil", "false"}))
	}
	errs = append(errs, check.NotNegative(specPath.Child("successfulJobsHistoryLimit"), ptr.Deref(spec.SuccessfulJobsHistoryLimit, 0))...)
	errs = append(errs, check.NotNegative(specPath.Child("failedJobsHistoryLimit"), ptr.Deref(spec.FailedJobsHistoryLimit, 0))...)
	return append(errs, check.Set(specPath, "schedule", spec.Schedule)...)
}

func validateSchedule(spec *batchv1.CronJobSpec, zoneAllowed bool) field.ErrorList {
	var errs field.ErrorList
	at := specPath.Child("schedule")
	if err := parseSchedule(spec.Schedule); err != nil {
		errs = append(errs, field.Invalid(at, spec.Schedule, err.Error()))
	}
	if !strings.Contains(spec.Schedule, "TZ") {
		return errs
	}
	switch {
	case !zoneAllowed:
		errs = append(errs, field.Invalid(at, spec.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	case spec.TimeZone != nil:
		errs = append(errs, field.Invalid(at, spec.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
	}
	return errs
}

// parseSchedule recovers because the parser panics on some malformed schedules
// that begin with a time zone.
func parseSchedule(schedule string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	_, err = cron.ParseStandard(schedule)
	return err
}

func validateTimeZone(p *field.Path, zone string) field.ErrorList {
	if zone == "" {
		return field.ErrorList{field.Invalid(p, zone, "timeZone must be nil or non-empty string")}
	}
	for _, part := range strings.Split(zone, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart.MatchString(part) {
			return field.ErrorList{field.Invalid(p, zone, "unknown time zone "+zone)}
		}
	}
	var errs field.ErrorList
	if strings.EqualFold(zone, "Local") {
		errs = append(errs, field.Invalid(p, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(zone); err != nil {
		errs = append(errs, field.Invalid(p, zone, err.Error()))
	}
	return errs
}

func cronJobWarnings(c, old *batchv1.CronJob) []string {
	var warnings []string
	if old == nil {
		warnings = core.PodNameWarnings(c.Name)
	}
	if old == nil || old.Generation != c.Generation {
		warnings = append(warnings, jobWarnings(specPath.Child("jobTemplate", "spec"), &c.Spec.JobTemplate.Spec)...)
	}
	if old != nil && strings.Contains(c.Spec.Schedule, "TZ") {
		warnings = append(warnings, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return warnings
}

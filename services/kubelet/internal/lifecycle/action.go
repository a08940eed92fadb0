// Package lifecycle decides, without I/O, clock or client, the one step that
// brings a pod nearer to what its specification asks for.
//
// Next is the whole of it: it looks at the pod as the API server has it and at
// what was observed on the node, and names an Action. Whoever applies the
// action observes again and asks again, until the answer is Wait or Done.
// So a kubelet that dies between any two steps goes on where it was.
package lifecycle

import (
	"fmt"
	"strings"
	"time"
)

// Verb is the kind of a step.
type Verb string

// The steps, in the order in which a pod usually meets them.
const (
	// Admit: the pod is new on the node; decide whether the node takes it.
	Admit Verb = "Admit"
	// MountVolumes: render the pod's volumes, the first time or again.
	MountVolumes Verb = "MountVolumes"
	// RunSandbox: make the pod's sandbox and connect it to the network.
	RunSandbox Verb = "RunSandbox"
	// Pull: have Container's image on the node.
	Pull Verb = "Pull"
	// Create: make the Attempt of Container from its image.
	Create Verb = "Create"
	// Start: start Container's instance ID and run its postStart hook.
	Start Verb = "Start"
	// Kill: stop the Victims; the pod lives on.
	Kill Verb = "Kill"
	// Remove: remove dead Containers and Sandboxes.
	Remove Verb = "Remove"
	// StopPod: stop the Victims in order, then the Sandboxes.
	StopPod Verb = "StopPod"
	// CleanUp: take the pod's volumes and files off the node.
	CleanUp Verb = "CleanUp"
	// Delete: report the final status and delete the pod from the API server.
	Delete Verb = "Delete"
	// Wait: nothing until Until, or until something changes.
	Wait Verb = "Wait"
	// Done: nothing ever again, or nothing until the pod is deleted.
	Done Verb = "Done"
)

// Action is one step and why it is next.
type Action struct {
	Verb Verb
	Why  string

	// Container names what Pull, Create and Start are about.
	Container string
	// ID is the container instance to Start.
	ID string
	// Attempt numbers the sandbox to run or the container to create.
	Attempt int

	// Victims are what Kill and StopPod stop.
	Victims []Victim
	// Containers and Sandboxes are engine IDs for Remove; StopPod stops
	// Sandboxes when all victims have ended.
	Containers, Sandboxes []string

	// Until is when a Wait ends by itself; zero means it does not.
	Until time.Time
	// Holds are the containers that are not started yet, for Wait. They are
	// to be remembered, because a pod's status tells of them.
	Holds []Hold
}

// Victim is one container to stop.
type Victim struct {
	ID, Name string
	// Message is the text of the Killing event.
	Message string
	Grace   time.Duration
	// After are the names of victims that must have ended before, as long as
	// grace lasts: sidecars outlive what they serve.
	After []string
}

// Hold keeps a container from being started, or the pod (Container empty) from
// any further step, before Until. It outlives that moment as the reason why
// the container does not run, until it does.
type Hold struct {
	Container       string
	Reason, Message string
	Until           time.Time
}

// String is for logs and tests: the verb and what it is about.
func (a Action) String() string {
	var about []string
	if a.Container != "" {
		about = append(about, a.Container)
	}
	for _, v := range a.Victims {
		about = append(about, v.Name)
	}
	about = append(about, a.Containers...)
	if a.Verb == StopPod || a.Verb == Remove {
		about = append(about, a.Sandboxes...)
	}
	if a.Verb == Create || a.Verb == RunSandbox {
		about = append(about, fmt.Sprintf("#%d", a.Attempt))
	}
	return strings.TrimSpace(string(a.Verb) + " " + strings.Join(about, " "))
}

// Names lists the containers an action is about, for people.
func (a Action) Names() []string {
	if a.Container != "" {
		return []string{a.Container}
	}
	var names []string
	for _, v := range a.Victims {
		names = append(names, v.Name)
	}
	return names
}

// SPDX-License-Identifier: Apache-2.0

package keep

import "os"

const victimDir = "KEEP_VICTIM_DIR"

func victim(dir string) { os.Exit(1) }

// The whole public API.
#pragma once
#include "transload/group.h"
#include "transload/version.h"

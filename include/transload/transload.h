// Everything.
#pragma once
#include "transload/group.h"

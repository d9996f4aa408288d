/* The macros of the header, the library that runs, and the version that the project has are one. EXPECTED comes from the test. */
#include <cdps/cdps.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", CDPS_VERSION_MAJOR, CDPS_VERSION_MINOR, CDPS_VERSION_PATCH);
    if (strcmp(text, EXPECTED) != 0 || strcmp(cdps_version_string(), EXPECTED) != 0)
        return 1;
    if (cdps_version_number() != CDPS_VERSION_NUMBER || !CDPS_VERSION_AT_LEAST(CDPS_VERSION_MAJOR, CDPS_VERSION_MINOR, CDPS_VERSION_PATCH))
        return 2;
    if (CDPS_VERSION_AT_LEAST(CDPS_VERSION_MAJOR, CDPS_VERSION_MINOR, CDPS_VERSION_PATCH + 1) || CDPS_VERSION_AT_LEAST(99, 0, 0))
        return 3;
    return 0;
}

-- id: stuck_initiated_calls
-- title: Calls that never got past ringing
-- description: A call that has been initiated or ringing for more than 20 minutes and is not older than 24 hours.
-- learning: No phone rings for 20 minutes: the PBX has stopped sending us states. Check the vendor's status webhook.
-- severity: warning
-- version: 1
-- requires: [call]
-- key: [call_id]

SELECT
    call_id,
    state,
    direction,
    did,
    vendor,
    began_at,
    CAST(floor(extract(epoch FROM :as_of - began_at) / 60) AS int) AS minutes
FROM call
WHERE state IN ('initiated', 'ringing')
    AND began_at < :as_of - interval '20 minutes'
    AND began_at >= :as_of - interval '24 hours'
ORDER BY began_at, call_id

-- wrk: requests that are spread over routes, made beforehand, and a result for machines.
-- Arguments: ROUTES SIZE UPLOAD; an upload of 0 bytes is a GET.

local requests, next_request = {}, 0

function init(arguments)
   local routes, size, upload = tonumber(arguments[1]), arguments[2], tonumber(arguments[3])
   local method, body = "GET", nil
   if upload > 0 then
      method, body = "POST", string.rep("u", upload)
   end
   for route = 0, routes - 1 do
      requests[route] = wrk.format(method, "/r" .. route .. "/" .. size, nil, body)
   end
   -- Threads and runs begin at different routes.
   next_request = os.time() % routes
end

function request()
   next_request = (next_request + 1) % (#requests + 1)
   return requests[next_request]
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "microseconds": %d, "status": %d, "socket": %d}\n',
      summary.requests, summary.duration, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end

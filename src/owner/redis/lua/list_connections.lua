-- list_connections: mirrors domain/user.rs
-- The connections of the user.
local ids = {}
for at, id in ipairs((connections())) do ids[at] = '"' .. id .. '"' end
return '{"c":[' .. table.concat(ids, ',') .. ']}'

<?php
// Says, in the answer and in the record, whom a login was taken for.
function answer($name, $password)
{
    http_response_code(401);
    if ($name && $password) {
        $taken = json_encode([$name, $password], JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR);
        file_put_contents(getenv('DATA_DIR') . '/logins', "LOGIN $taken\n", FILE_APPEND | LOCK_EX);
        header('x-login: ' . base64_encode($taken));
    }
    echo '{"error":"wrong"}';
}
